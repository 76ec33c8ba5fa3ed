"""`tinytl memory`: what a training step of a configuration needs."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tinytl.config import FinetuneConfig, SparseUpdateConfig


class _Norm(StrEnum):
    gn_ws = "gn_ws"
    bn_frozen = "bn_frozen"


class _Storage(StrEnum):
    kmeans = "kmeans"
    scale = "scale"


class _Execution(StrEnum):
    plain = "plain"
    saving = "saving"
    planned = "planned"


def memory(
    backbone: Annotated[str, typer.Option(help="Name of a backbone.")] = "proxyless_mobile",
    method: Annotated[str, typer.Option(help="Name of a method.")] = "tinytl-lite_residual+bias",
    resolution: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 224,
    batch_size: Annotated[int, typer.Option(help="Images in a training step.")] = 8,
    classes: Annotated[int, typer.Option(help="Outputs of the classifier.", min=1)] = 102,
    norm: Annotated[
        _Norm | None, typer.Option(help="Normalization layers; else the backbone's default.")
    ] = None,
    execution: Annotated[
        _Execution, typer.Option(help="plain is stock PyTorch, planned needs a bound.")
    ] = _Execution.saving,
    budget: Annotated[
        str | None, typer.Option(help="Take the fastest plan within this memory: 36MB.")
    ] = None,
    max_slowdown: Annotated[
        float | None, typer.Option(help="Take the smallest plan within this many times the work.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="adam, adam8bit, adamw, sgd or sgd_momentum.")
    ] = "adam",
    lite_residual: Annotated[
        bool, typer.Option("--lite-residual", help="Insert the modules for every method.")
    ] = False,
    width: Annotated[
        str | None, typer.Option(help="Lite residual width [1], or one a stage: 1,1,0,2,1,1.")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(help="Groups of the modules' first convolution [2].")
    ] = None,
    kernel_size: Annotated[int | None, typer.Option(help="Its kernel size [5].")] = None,
    frozen_weights: Annotated[
        _Storage | None, typer.Option(help="How frozen weights are stored; else as float32.")
    ] = None,
    bits: Annotated[
        str | None, typer.Option(help="Bits of a frozen weight [8], or one a stage: 4,6,6,8,8,8.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(help="Of sparse-update: the last so many blocks [6].")
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="Its share of input channels [0.5]: 1, 0.5, 0.25, 0.125.")
    ] = None,
    train_last: Annotated[
        int, typer.Option(help="2 trains the last convolution before the classifier too.")
    ] = 1,
    weights: Annotated[
        Path | None, typer.Option(help="Directory of the files of specialized/DATASET.")
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measure", help="Run a training step and measure it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, in bytes.")] = False,
) -> None:
    """Print the modeled memory of a training step, and with --measure what it really uses.

    modeled is the paper's count; saved is what autograd keeps between forward and backward; peak is
    everything: parameters, optimizer state, input, activations, gradients and scratch. They depend
    on shapes alone, so that weights are random; --weights is where a specialized network is
    described.
    """
    settings: dict[str, Any] = {
        "dataset": "random images",
        "weights": "random",
        "backbone": backbone,
        "method": method,
        "resolution": resolution,
        "batch_size": batch_size,
        "norm": norm and norm.value,
        "execution": "planned" if budget or max_slowdown else execution.value,
        "memory_budget": budget,
        "max_slowdown": max_slowdown,
        "optimizer": optimizer,
        "train_last": train_last,
    }
    sections: dict[str, dict[str, Any]] = {
        "lite_residual": {"width": _by_stage(width), "groups": groups, "kernel_size": kernel_size},
        "sparse_update": {"blocks": blocks, "ratio": ratio},
        "frozen_weights": {
            "storage": frozen_weights and frozen_weights.value,
            "bits": _by_stage(bits),
        },
    }
    for section, values in sections.items():
        given = {name: value for name, value in values.items() if value is not None}
        if given:
            settings[section] = given
    config = FinetuneConfig.parse(settings)
    numbers = _numbers(config, classes, weights, with_modules=lite_residual, measured=measured)
    if as_json:
        typer.echo(json.dumps(numbers, indent=2))
        return
    console = Console()
    console.print(_title(config), highlight=False)
    table = Table("", show_header=True)
    table.add_column("MB", justify="right")
    for name, value in numbers.items():
        text = f"{value / 1e6:.1f}" if isinstance(value, int) else str(value)
        table.add_row(name.removesuffix("_bytes").replace("_", " "), text)
    console.print(table)


def _title(config: FinetuneConfig) -> str:
    from tinytl.methods import find_method

    method = config.method
    if find_method(method).uses_sparse_update:
        update = config.sparse_update or SparseUpdateConfig()
        method = f"{method} (blocks {update.blocks}, ratio {update.ratio:g})"
    return f"{config.backbone}, {method}, batch {config.batch_size}, {config.resolution} px"


def _by_stage(text: str | None) -> str | tuple[str, ...] | None:
    """Returns the values of `1,0,2`, or the text where it is one value."""
    return tuple(text.split(",")) if text and "," in text else text


def _numbers(
    config: FinetuneConfig,
    classes: int,
    weights: Path | None,
    *,
    with_modules: bool,
    measured: bool,
) -> dict[str, int | float | str]:
    """Returns modeled, planned and, if asked for, measured bytes, and where they peak."""
    # here, so that the list of commands does not wait for torch
    from tinytl.engine.build import build_network
    from tinytl.engine.execute import plan
    from tinytl.engine.measure import measure
    from tinytl.memory.modeled import modeled_bytes

    network = build_network(
        config, classes, weights_directory=weights, with_modules=with_modules
    ).network
    modeled = modeled_bytes(network, config.resolution, config.batch_size)
    numbers: dict[str, int | float | str] = {"modeled_bytes": modeled}
    if config.execution == "planned":
        planned = plan(network, config)
        numbers |= {
            "planned_peak_bytes": planned.peak_bytes,
            "slowdown": round(planned.choice.slowdown, 2),
            "plan": str(planned.choice.plan),
        }
    if measured:
        numbers |= asdict(measure(network, config))
    return numbers
