"""Assembles the network of a configuration: backbone, weights, modules, method, execution."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tinytl.backbones import Network, find_backbone
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.shapes import check_groups, count_blocks
from tinytl.backbones.weights import (
    RANDOM,
    WeightsInfo,
    find_weights,
    load_backbone,
    load_lite_residuals,
    read_weights,
    weights_info,
)
from tinytl.config import FinetuneConfig, Norm, SparseUpdateConfig
from tinytl.engine.convert import convert
from tinytl.engine.quantize import Quantization, leaves_frozen, quantize_frozen
from tinytl.errors import ConfigError, WeightsError
from tinytl.methods import METHODS, find_method
from tinytl.methods.sparse_update import too_many_blocks
from tinytl.nn.normalization import InputNormalization


@dataclass(frozen=True)
class Built:
    """A network ready to be trained, and what came with its weights.

    Attributes:
        network: In training mode.
        weights: What is known of its weights.
        frozen_weights: How frozen weights are stored, None where all are float32.
        head_replaced: Whether the weights' classifier was left out, having other classes.
    """

    network: Network
    weights: WeightsInfo
    frozen_weights: Quantization | None = None
    head_replaced: bool = False


def check(config: FinetuneConfig, *, with_modules: bool = False) -> None:
    """Checks what a configuration asks of backbone, method and weights, without reading files.

    Args:
        config: To be checked.
        with_modules: Lite residual modules are inserted for every method.

    Raises:
        ConfigError: With every rule that is broken.
    """
    problems = []
    for key, find in (("method", find_method), ("backbone", find_backbone)):
        try:
            find(getattr(config, key))
        except ConfigError as error:
            problems += [f"{key}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    backbone, method = find_backbone(config.backbone), find_method(config.method)
    try:
        weights = weights_info(config.weights, config.backbone, config.norm)
    except WeightsError as error:  # what depends on the weights is not judged without them
        problems.append(str(error))
        weights = replace(RANDOM, lite_residual=True)
    if config.resolution < backbone.min_resolution:
        problems.append(
            f"resolution: {backbone.name} takes images of at least {backbone.min_resolution} "
            f"pixels, but got {config.resolution}"
        )
    if config.norm not in (None, *backbone.norms):
        problems.append(
            f"norm: {backbone.name} can be built with {', '.join(backbone.norms)}, but got "
            f"{config.norm}"
        )
    if weights.norm is not None and config.norm not in (None, weights.norm):
        problems.append(
            f"norm: the {config.weights} weights of {backbone.name} were trained with "
            f"{weights.norm}, but got {config.norm}; leave norm out, or take weights: random"
        )
    if config.train_last == 2 and not backbone.last_convolution:
        problems.append(
            f"train_last: must be 1 for {backbone.name}, but got 2: before its classifier come "
            "convolutions side by side, not one"
        )
    problems += _execution_problems(config)
    problems += _sparse_update_problems(config)
    if config.frozen_weights is not None:
        problems += _frozen_weights_problems(config, config.frozen_weights.bits)
    if config.lite_residual is not None:
        width = config.lite_residual.width
        if isinstance(width, tuple) and len(width) != backbone.stages:
            problems.append(
                f"lite_residual.width: {backbone.name} has {backbone.stages} stages, but got "
                f"{len(width)} widths"
            )
        if not (method.uses_lite_residual or weights.lite_residual or with_modules):
            users = [name for name, method in METHODS.items() if method.uses_lite_residual]
            problems.append(
                f"lite_residual: the method {config.method} has no lite residual modules; leave it "
                f"out, or choose {' or '.join(users)}"
            )
    if problems:
        raise ConfigError(problems)


def _execution_problems(config: FinetuneConfig) -> Iterator[str]:
    bounds = {"memory_budget": config.memory_budget, "max_slowdown": config.max_slowdown}
    given = [name for name, value in bounds.items() if value is not None]
    unplanned = find_method(config.method).unplanned
    if config.execution == "planned" and unplanned:
        yield f"execution: planned does not take the method {config.method}: {unplanned}"
    if config.execution == "planned" and not given:
        yield "execution: planned needs a memory_budget or a max_slowdown; give one of them"
    if config.execution != "planned":
        for name in given:
            yield (
                f"{name}: needs execution planned, but got {config.execution}; leave it out, or "
                "choose execution: planned"
            )


def _sparse_update_problems(config: FinetuneConfig) -> Iterator[str]:
    if not find_method(config.method).uses_sparse_update:
        if config.sparse_update is not None:
            users = [name for name, method in METHODS.items() if method.uses_sparse_update]
            yield (
                f"sparse_update: does not belong to the method {config.method}; leave it out, or "
                f"choose {' or '.join(users)}"
            )
        return
    blocks = (config.sparse_update or SparseUpdateConfig()).blocks
    # how many blocks a specialized network has is in its file
    with suppress(WeightsError):
        count = count_blocks(find_backbone(config.backbone))
        if blocks > count:
            yield too_many_blocks("sparse_update.blocks", config.backbone, count, blocks)


def _frozen_weights_problems(config: FinetuneConfig, bits: int | tuple[int, ...]) -> Iterator[str]:
    stages = find_backbone(config.backbone).stages
    if isinstance(bits, tuple) and len(bits) != stages:
        yield (
            f"frozen_weights.bits: {config.backbone} has {stages} stages, but got {len(bits)} "
            "values"
        )
    if config.execution == "plain":
        yield (
            "frozen_weights: needs execution saving or planned, but got plain, whose layers have "
            "no stored weights; leave one of the two out"
        )
    if not leaves_frozen(find_method(config.method)):
        yield (
            f"frozen_weights: the method {config.method} leaves no weights frozen; leave it out, "
            "or choose another method"
        )


def norm_of(config: FinetuneConfig) -> Norm:
    """Returns the kind of norm layers: what is asked for, or else what belongs to the weights."""
    weights = weights_info(config.weights, config.backbone)
    return config.norm or weights.norm or find_backbone(config.backbone).norms[0]


def build_network(
    config: FinetuneConfig,
    classes: int,
    *,
    weights_directory: Path | None = None,
    pretrained: bool = True,
    with_modules: bool = False,
) -> Built:
    """Builds the network of a configuration, in training mode.

    Lite residual modules are there if the method trains them, or the weights bring them.

    Args:
        config: What to build.
        classes: Outputs of the classifier; it is new where the weights have another number.
        weights_directory: Where to look for the files of weights and specialized networks first.
        pretrained: Read the weights; False builds the same network with random ones.
        with_modules: Insert lite residual modules for every method, as if the weights had them.

    Raises:
        ConfigError: If the configuration asks for what is not possible.
        WeightsError: If the weights are missing or do not fit.
    """
    check(config, with_modules=with_modules)
    weights = weights_info(config.weights, config.backbone, config.norm)
    network, head_replaced = assemble(
        config,
        classes,
        weights_directory=weights_directory,
        pretrained=pretrained,
        with_modules=with_modules,
    )
    find_method(config.method).apply(network, config.train_last, config.sparse_update)
    if config.execution != "plain":
        convert(network)
    network.normalization = InputNormalization(*weights.normalization)
    stored = None
    if config.frozen_weights is not None:
        storage, bits = config.frozen_weights.storage, config.frozen_weights.bits
        stored = quantize_frozen(network, storage=storage, bits=bits)
    return Built(network.train(), weights, stored, head_replaced)


def assemble(
    config: FinetuneConfig,
    classes: int,
    *,
    weights_directory: Path | None = None,
    pretrained: bool = True,
    with_modules: bool = False,
) -> tuple[Network, bool]:
    """Returns the network before method and execution: backbone, weights and modules.

    Arguments are those of `build_network`, for a configuration that `check` lets pass.

    Returns:
        The network, and whether the weights' classifier was left out.

    Raises:
        ConfigError: If groups do not divide the channels, or would hold a single value.
        WeightsError: If the weights are missing or do not fit.
    """
    weights = weights_info(config.weights, config.backbone, config.norm)
    method = find_method(config.method)
    backbone = find_backbone(config.backbone, weights_directory)
    network = backbone.build(norm_of(config), classes, config.dropout)
    state, head_replaced = {}, False
    if pretrained and config.weights != "random":
        path = find_weights(config.weights, config.backbone, weights_directory, norm=config.norm)
        state = read_weights(path, network)
        head_replaced = load_backbone(network, state, path)
    if method.uses_lite_residual or weights.lite_residual or with_modules:
        insert_lite_residuals(network, config.lite_residual)
        if config.lite_residual is None or config.lite_residual.init == "weights":
            load_lite_residuals(network, state)
    check_groups(network, config.resolution)
    return network, head_replaced
