"""Pre-trained weights: where their files are, and what belongs to them.

The input normalization and the kind of norm layers belong to the weights, not to the dataset.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tinytl.backbones.base import Network
from tinytl.backbones.reference_names import from_reference, without_modules
from tinytl.checkpoint import load_tensors
from tinytl.config import Norm
from tinytl.errors import WeightsError

RGB = tuple[float, float, float]
HALF: tuple[RGB, RGB] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LITE_RESIDUAL = ".lite_residual."


@dataclass(frozen=True)
class WeightsInfo:
    """A weights file by name.

    Attributes:
        file: Name of the file.
        norm: The norm layers it was trained with.
        normalization: Mean and standard deviation of its input's channels, for values in 0 to 1.
        lite_residual: Whether it brings lite residual modules (width 1, kernel 5, 2 groups).
    """

    file: str
    norm: Norm
    normalization: tuple[RGB, RGB]
    lite_residual: bool = False


# by the name in configurations, then by backbone
WEIGHTS: dict[str, dict[str, WeightsInfo]] = {
    "imagenet": {
        "proxyless_w0.25": WeightsInfo("proxyless-w0.25-r112_imagenet.pth", "bn_frozen", HALF),
        "proxyless_w0.3": WeightsInfo("proxyless-w0.3-r176_imagenet.pth", "bn_frozen", HALF),
        "proxyless_mobile": WeightsInfo(
            "proxylessnas_mobile+lite_residual@imagenet@ws+gn", "gn_ws", IMAGENET, True
        ),
    },
    "rendered_digits": {
        "proxyless_tiny": WeightsInfo("proxyless_tiny@rendered_digits.pt", "gn_ws", HALF),
    },
}
RANDOM = WeightsInfo("", "gn_ws", HALF)


def cache_directory() -> Path:
    """Returns where built and fetched files are kept: `TINYTL_CACHE`, or ~/.cache/tinytl."""
    return Path(os.environ.get("TINYTL_CACHE") or Path.home() / ".cache" / "tinytl")


def weights_info(weights: str, backbone: str) -> WeightsInfo:
    """Returns what is known of the weights, without reading them.

    Raises:
        WeightsError: If there are none by that name for the backbone.
    """
    if weights == "random":
        return RANDOM
    known = WEIGHTS.get(weights, {})
    if weights not in WEIGHTS:
        by_file = {info.file: info for infos in WEIGHTS.values() for info in infos.values()}
        if Path(weights).name in by_file:
            return by_file[Path(weights).name]
    if backbone not in known:
        choices = [name for name, infos in WEIGHTS.items() if backbone in infos]
        raise WeightsError(
            f"there are no weights {weights!r} for backbone {backbone!r}: choose one of "
            f"{', '.join([*choices, 'random'])}, or the path of a file with a known name"
        )
    return known[backbone]


def find_weights(weights: str, backbone: str, directory: Path | None) -> Path:
    """Returns the path of a weights file.

    Looked for in `directory`, in the directory that `TINYTL_WEIGHTS` names, and in the cache.

    Raises:
        WeightsError: If it is in none of them; the text says which file to put where.
    """
    info = weights_info(weights, backbone)
    if weights not in WEIGHTS:
        path = Path(weights)
        if path.is_file():
            return path
        raise WeightsError(f"there is no weights file {path}; correct the path")
    named = os.environ.get("TINYTL_WEIGHTS")
    places = [directory, Path(named) if named else None, cache_directory() / "weights"]
    for place in filter(None, places):
        if place.name == info.file and place.is_file():
            return place
        if (place / info.file).is_file():
            return place / info.file
    if weights == "rendered_digits":
        raise WeightsError(
            f"the built-in task's source model {info.file} is not built yet: `tinytl sweep digits` "
            "builds it, or call tinytl.builtin.build_weights()"
        )
    looked = ", ".join(str(place) for place in filter(None, places))
    raise WeightsError(
        f"the {weights} weights of {backbone} are missing: put the file {info.file} into a "
        f"directory and name it with --weights or TINYTL_WEIGHTS (looked in {looked})"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict under our names; the file may use the reference's.

    Raises:
        WeightsError: If the file is corrupt, or holds anything but tensors by name.
    """
    try:
        content = load_tensors(path, torch.device("cpu"))
    except ValueError as error:
        raise WeightsError(f"cannot read weights from {path}: {error}; get it again") from None
    except OSError as error:
        raise WeightsError(f"cannot read weights from {path}: {error.strerror}") from None
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict (tensors by name); get another file")
    return {from_reference(name): value for name, value in state.items()}


def load_backbone(network: Network, state: Mapping[str, Tensor], path: Path) -> None:
    """Loads a state dict into a network that has no lite residual modules yet.

    The state's own modules are left out, and its classifier where its classes are others.

    Raises:
        WeightsError: If the state was made for another network.
    """
    state = {without_modules(n): v for n, v in state.items() if _LITE_RESIDUAL not in n}
    own = network.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        if name in state and state[name].shape != own[name].shape:
            del state[name]
    missing = [n for n in own if n not in state and not n.startswith("classifier.")]
    surplus = [n for n in state if n not in own]
    other = [n for n in state if n in own and state[n].shape != own[n].shape]
    for problem, names in (("lacks", missing), ("has", surplus), ("has other shapes for", other)):
        if names:
            raise WeightsError(
                f"{path} was made for another network: it {problem} {names[0]}"
                + (f" and {len(names) - 1} more" if len(names) > 1 else "")
                + "; choose the backbone and norm that belong to it"
            )
    network.load_state_dict(state, strict=False)


def load_lite_residuals(network: Network, state: Mapping[str, Tensor]) -> int:
    """Loads the state's lite residual modules into those of the network that have their shape.

    Returns:
        How many modules were loaded.
    """
    own = network.state_dict()
    modules: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        module, found, rest = name.partition(_LITE_RESIDUAL)
        if found:
            modules.setdefault(module + _LITE_RESIDUAL, {})[rest] = value
    loaded = 0
    for module, values in modules.items():
        if all(module + n in own and own[module + n].shape == v.shape for n, v in values.items()):
            network.get_submodule(module.rstrip(".")).load_state_dict(values)
            loaded += 1
    return loaded
