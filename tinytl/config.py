"""The configuration of one fine-tuning run: one schema for library, command line and sweep file."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from tinytl.errors import ConfigError
from tinytl.sizes import Bytes

Width = Annotated[float, Field(ge=0, le=8)]
BITS = range(2, 9)  # that a stored weight may have
Bits = Annotated[int, Field(ge=BITS[0], le=BITS[-1])]
_ONE, _STAGES = "one value", "a value per stage"
# so that a wrong value breaks one form's rule, not those of both
_FORM = Discriminator(lambda value: _STAGES if isinstance(value, (list, tuple)) else _ONE)
_Widths = Annotated[Annotated[Width, Tag(_ONE)] | Annotated[tuple[Width, ...], Tag(_STAGES)], _FORM]
_BitsOfStages = Annotated[
    Annotated[Bits, Tag(_ONE)] | Annotated[tuple[Bits, ...], Tag(_STAGES)], _FORM
]
# the field of a section that may have a value for each stage
STAGED = {"lite_residual": "width", "frozen_weights": "bits"}
Norm = Literal["gn_ws", "bn_frozen"]
Execution = Literal["plain", "saving", "planned"]
TrainLast = Literal[1, 2]
Ratio = Literal[1, 0.5, 0.25, 0.125]  # type: ignore[valid-type]  # pydantic takes floats too
Optimizer = Literal["adam", "adam8bit", "adamw", "sgd", "sgd_momentum"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LiteResidualConfig(_Section):
    """The lite residual modules of a network.

    Attributes:
        width: The modules' expand ratio, one for every stage or one for all; 0 means no module.
        groups: Groups of the modules' first convolution.
        kernel_size: Kernel of the modules' first convolution, where the resolution allows it.
        init: `weights` takes the modules out of the weights file where it has them in this shape;
            `random` starts them from random weights with a final scale of zero.
    """

    width: _Widths = 1.0
    groups: Annotated[int, Field(ge=1)] = 2
    kernel_size: Literal[1, 3, 5, 7] = 5
    init: Literal["weights", "random"] = "weights"


class FrozenWeightsConfig(_Section):
    """How weights that are not trained are stored.

    Attributes:
        storage: `kmeans`: codes and, for each layer, a codebook of 2**bits entries; `scale`: whole
            multiples of a scale for each output channel.
        bits: Of a code, one for every stage of the backbone or one for all layers.
    """

    storage: Literal["kmeans", "scale"] = "kmeans"
    bits: _BitsOfStages = 8


class SparseUpdateConfig(_Section):
    """What the method `sparse-update` trains besides the classifier.

    The published scheme of 100 KB for MCUNet-5FPS trains weights in six blocks, with shares from
    1/8 to 1; the defaults are six blocks and a share between these.

    Attributes:
        blocks: Of the last so many blocks a weight is trained, and biases from the first on.
        ratio: Share of a weight's input channels that is trained.
    """

    blocks: Annotated[int, Field(ge=1)] = 6
    ratio: Ratio = 0.5


class FinetuneConfig(_Section):
    """One fine-tuning run.

    Attributes:
        dataset: Name of a dataset, see `tinytl.data.DATASETS`.
        backbone: Name of a backbone, see `tinytl.backbones.find_backbone`.
        norm: Normalization layers; None takes what the weights were trained with, or the
            backbone's default where they are random.
        method: Name of a transfer method, see `tinytl.methods.METHODS`.
        resolution: Side of the square input images in pixels.
        batch_size: Images in one training step.
        execution: `saving` keeps only what the gradients need, `plain` is stock PyTorch, `planned`
            recomputes as much as its bounds ask for; one of the two is needed with it.
        memory_budget: What `peak_bytes` may become; the fastest plan within it is taken.
        max_slowdown: How much longer a step may take than one that recomputes nothing; the smallest
            plan within it is taken, or the fastest within `memory_budget` if that is given too.
        lite_residual: The modules; asked for only where the method trains them, or where they are
            part of the weights.
        sparse_update: What is trained by the method of this name, the only one it is asked for by;
            None takes the defaults.
        frozen_weights: How frozen weights are stored; None leaves them float32.
        train_last: 2 trains the last convolution before the classifier and its norm too.
        learning_rate: Initial learning rate, annealed to zero along a half cosine.
        epochs: Passes over the training images.
        optimizer: `adam8bit` is Adam with moments in 8 bits, `sgd_momentum` SGD with momentum 0.9.
        weight_decay: Decoupled for adamw, L2 for the others.
        label_smoothing: Share of the target's probability spread over all classes.
        dropout: Probability of dropping an input of the classifier.
        crop_scale: Smallest area of a random training crop, as a share of the image; None takes
            the dataset's own.
        weights: `imagenet`, `imagenet_v2` (torchvision's later ones), `rendered_digits` (the
            built-in task's source model), `random`, or the path of a file.
        validation: Share of the training images held out for validation, split by class.
        train_images: Use at most this many training images (a stratified draw); None uses all.
        eval_images: Use at most this many images of each evaluation split; None uses all.
        seed: Seeds initialization, order and augmentation.
    """

    dataset: str
    backbone: str
    norm: Norm | None = None
    method: str
    resolution: Annotated[int, Field(ge=8, le=1024)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    execution: Execution = "saving"
    memory_budget: Bytes | None = None
    max_slowdown: Annotated[float, Field(ge=1, le=100)] | None = None
    lite_residual: LiteResidualConfig | None = None
    sparse_update: SparseUpdateConfig | None = None
    frozen_weights: FrozenWeightsConfig | None = None
    train_last: TrainLast = 1
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 50
    optimizer: Optimizer = "adam"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    crop_scale: Annotated[float, Field(gt=0, le=1)] | None = None
    weights: str = "imagenet"
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    train_images: Annotated[int, Field(ge=1)] | None = None
    eval_images: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Builds a configuration from nested values.

        Raises:
            ConfigError: With one sentence for each value that breaks a rule.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(problems_of(error)) from None

    @classmethod
    def from_flat(cls, params: Mapping[str, Any]) -> Self:
        """Builds a configuration from flat names, such as `lite_residual.width.0`.

        Raises:
            ConfigError: As `parse`; also where stages are not numbered from 0 on.
        """
        return cls.parse(nested(params))


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Turns flat names into nested values: `{"a.b": 1}` into `{"a": {"b": 1}}`.

    `lite_residual.width.0` and its neighbours become the tuple of widths per stage, and so do the
    bits of `frozen_weights`.

    Raises:
        ConfigError: If a value is given both as a whole and in parts, or a stage is missing.
    """
    values: dict[str, Any] = {}
    for name, value in params.items():
        section, _, key = name.partition(".")
        if not key:
            values[name] = value
        elif section in params:
            raise ConfigError(f"{section}: given as a whole and as {name}; leave one out")
        else:
            values.setdefault(section, {})[key] = value
    for section, key in STAGED.items():
        if isinstance(values.get(section), dict):
            values[section] = _with_stages_joined(section, values[section], key)
    return values


def _with_stages_joined(section: str, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Replaces `<key>.0`, `<key>.1` and so on by one tuple."""
    stages = {name: value for name, value in values.items() if name.startswith(f"{key}.")}
    if not stages:
        return dict(values)
    names = [f"{key}.{stage}" for stage in range(len(stages))]
    if key in values or set(names) != set(stages):
        given = sorted(name for name in values if name.startswith(key))
        raise ConfigError(
            f"{section}.{key} must be one value or one for each stage from 0 on, but got "
            + ", ".join(f"{section}.{name}" for name in given)
        )
    others = {name: value for name, value in values.items() if name not in stages}
    return {**others, key: tuple(stages[name] for name in names)}


def flattened(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields flat names and values: `lite_residual.width.0` of a list of widths."""
    for name, value in values.items():
        if isinstance(value, list | tuple):
            value = {str(index): part for index, part in enumerate(value)}
        if not isinstance(value, dict):
            yield name, value
            continue
        for key, part in flattened(value):
            yield f"{name}.{key}", part


def problems_of(error: ValidationError, prefix: str = "") -> list[str]:
    """Returns one sentence for each problem: the key's path, the rule and the value found."""
    sentences = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"] if part not in (_ONE, _STAGES))
        path = f"{prefix}{path}" if path else prefix.rstrip(".")
        message = problem["msg"][0].lower() + problem["msg"][1:]
        if problem["type"] == "extra_forbidden":
            sentences.append(f"{path}: unknown key; remove it or correct its name")
        elif problem["type"] == "missing":
            sentences.append(f"{path}: required, but missing")
        else:
            sentences.append(f"{path}: {message}, but got {problem['input']!r}")
    return sentences
