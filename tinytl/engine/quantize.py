"""Stores the frozen weights of a network in 2 to 8 bits."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.config import BITS
from tinytl.errors import ConfigError, unknown_name
from tinytl.methods import Method
from tinytl.methods.base import Role
from tinytl.nn.codes import STORAGES
from tinytl.nn.quantized import QUANTIZED, quantize, used_weight


@dataclass(frozen=True)
class Quantization:
    """What `quantize_frozen` did.

    Attributes:
        bits: Of each layer that was quantized, by name.
        kept: Names of the convolutions and linear layers left as they are, with the reason.
        error: Root mean square of the change of all quantized weights, relative to that of the
            weights themselves; 0 where none was quantized.
    """

    bits: dict[str, int]
    kept: dict[str, str]
    error: float


def quantize_frozen(
    network: Network,
    *,
    storage: str = "kmeans",
    bits: int | tuple[int, ...] | Mapping[str, int] = 8,
) -> Quantization:
    """Stores the frozen weights of convolutions and linear layers as codes, in place.

    What is trained, biases and norm layers stay as they are, and so does a layer whose codes and
    levels would be no fewer bytes than its weight.

    Args:
        network: With its trained parameters marked, after `tinytl.engine.convert.convert`.
        storage: `kmeans`: a codebook for each layer; `scale`: whole multiples of a scale for each
            output channel.
        bits: Of a code, 2 to 8: one for all layers, one for each stage of the backbone (see
            `layer_stages`), or one for each layer named.

    Raises:
        ConfigError: If there is no such storage, a number of bits is not possible, there is not one
            for each stage, or a layer named has no frozen weight to store.
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    kept = {name: reason for name, layer in layers.items() if (reason := _obstacle(layer))}
    wanted = _bits_by_layer(network, [name for name in layers if name not in kept], bits)
    problems = [*_problems(storage, wanted), *_unfit(bits, layers, kept)]
    if problems:
        raise ConfigError(problems)
    done: dict[str, int] = {}
    changed = whole = 0.0
    for name, layer_bits in wanted.items():
        weight = used_weight(layers[name])
        layer = quantize(layers[name], storage, layer_bits)
        if layer is None:
            kept[name] = f"it would be no smaller in {layer_bits} bits"
        else:
            done[name] = layer_bits
            changed += _sum_of_squares(layer.dense() - weight)
            whole += _sum_of_squares(weight)
    return Quantization(done, kept, math.sqrt(changed / whole) if whole else 0.0)


def layer_stages(network: Network) -> dict[str, int]:
    """Returns the stage of each module of a backbone, counted from 0.

    A stage goes from its first insertion point to the next stage's, in the order of definition; the
    stem belongs to the first, and what comes behind the last block to the last.
    """
    starts = {point.path: point.stage for point in network.insertion_points}
    stages, stage = {}, 0
    for name, _ in network.named_modules():
        stage = starts.get(name, stage)
        stages[name] = stage
    return stages


def leaves_frozen(method: Method) -> bool:
    """Returns whether the method leaves weights of the backbone frozen."""
    backbone = Role(
        classifier=False,
        lite_residual=False,
        norm=False,
        bias=False,
        final_norm=False,
        last_convolution=False,
        chosen=False,
    )
    return not method.trains(backbone)


def _obstacle(layer: nn.Module) -> str | None:
    if type(layer) not in QUANTIZED:
        return f"{type(layer).__name__} has no quantized twin"
    return "its weight is trained" if layer.get_parameter("weight").requires_grad else None


def _bits_by_layer(
    network: Network, frozen: list[str], bits: int | tuple[int, ...] | Mapping[str, int]
) -> dict[str, int]:
    if isinstance(bits, Mapping):
        return {name: bits[name] for name in frozen if name in bits}
    if isinstance(bits, int):
        return dict.fromkeys(frozen, bits)
    stages = layer_stages(network)
    count = 1 + max(stages.values())
    if len(bits) != count:
        raise ConfigError(
            f"bits must be one value or one for each of the backbone's {count} stages, but got "
            f"{len(bits)} values: {bits}"
        )
    return {name: bits[stages[name]] for name in frozen}


def _problems(storage: str, wanted: Mapping[str, int]) -> Iterator[str]:
    if storage not in STORAGES:
        yield unknown_name("storage", storage, STORAGES)
    for value in sorted(set(wanted.values()) - set(BITS)):
        yield f"bits must be {BITS[0]} to {BITS[-1]}, but got {value}"


def _unfit(
    bits: int | tuple[int, ...] | Mapping[str, int],
    layers: Mapping[str, nn.Module],
    kept: Mapping[str, str],
) -> Iterator[str]:
    """Yields a sentence for each layer that was named and cannot be quantized."""
    for name in bits if isinstance(bits, Mapping) else ():
        if name not in layers:
            yield unknown_name("convolution or linear layer", name, layers)
        elif name in kept:
            yield f"{name}: its weight cannot be stored in bits, for {kept[name]}; leave it out"


def _sum_of_squares(values: Tensor) -> float:
    return float(values.double().square().sum())
