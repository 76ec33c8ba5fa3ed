"""The table of backbones in the documents is what the registries say."""

from pathlib import Path

import torch
from torch import nn

from tinytl.backbones import BACKBONES
from tinytl.backbones.weights import WEIGHTS

PAGE = Path(__file__).parents[3] / "docs" / "how_to" / "backbones.md"
ONE_BIT = (nn.ReLU, nn.ReLU6)
WHOLE_INPUT = (nn.Hardswish, nn.SiLU, nn.Sigmoid, nn.Hardsigmoid)


def activation_bits(name: str) -> str:
    """What an element of an activation's input costs to keep."""
    with torch.device("meta"):
        modules = list(BACKBONES[name].build("bn_frozen", 10, 0.0).modules())
    found = {1 for module in modules if isinstance(module, ONE_BIT)}
    found |= {32 for module in modules if isinstance(module, WHOLE_INPUT)}
    return " and ".join(str(bits) for bits in sorted(found))


def weights_of(name: str) -> str:
    """Each file by the names under which it is asked for."""
    lines = [
        f"`{weights}`: `{info.file}` ({info.norm}, {info.resolution} px)"
        for weights, backbones in WEIGHTS.items()
        for info in backbones.get(name, ())
    ]
    return "<br>".join(lines) or "none"


def table() -> list[str]:
    rows = ["| backbone | stages | smallest image | bits kept by activations | weights |",
            "|---|---|---|---|---|"]  # fmt: skip
    for name, info in BACKBONES.items():
        cells = (f"`{name}`", info.stages, info.min_resolution, activation_bits(name))
        rows.append(f"| {' | '.join(map(str, cells))} | {weights_of(name)} |")
    return rows


def test_the_table_is_what_the_registries_say() -> None:
    """After a change, put what this prints into the page: `print("\\n".join(table()))`."""
    lines = PAGE.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| backbone |"))
    end = next(index for index in range(start, len(lines)) if not lines[index].startswith("|"))
    assert lines[start:end] == table()
