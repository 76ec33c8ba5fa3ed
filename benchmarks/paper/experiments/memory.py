"""The experiment `paper-memory`: the paper's count and what a training step really takes.

Each network of a memory claim has a cell for `modeled` (the paper's count), `plain` (measured with
stock PyTorch), `saving` (measured with our layers) and, where `PLANNED` has one, `planned` (our
step within a budget). Networks of ratios alone are counted and not measured. Memory depends on
shapes alone: weights and images are random.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import torch

from benchmarks.paper.claims import Claim, Settings
from benchmarks.paper.experiments.base import FAIL, NOT_RUN, PASS, Experiment, Place, Row, Scale
from benchmarks.paper.results import Cell, Results
from tinytl.backbones import Network
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.measure import measure
from tinytl.memory.modeled import FLOAT_BYTES, FROZEN_WEIGHT_BYTES, modeled_bytes
from tinytl.methods import PAPER_METHODS

NAME = "paper-memory"
CLASSES = 102
MODELED = "modeled"
MEASURED = ("plain", "saving", "planned")
_STORED = {"frozen_weights": {"storage": "scale", "bits": 8}}
# Budgets of docs/memory.md; TinyTL-B's is larger by the modules that the paper's network has.
PLANNED: dict[tuple[str, int, int], Settings] = {
    ("tinytl-lite_residual+bias", 224, 8): {"memory_budget": "36MB", **_STORED},
    ("tinytl-lite_residual+bias", 320, 8): {"memory_budget": "42MB", **_STORED},
    ("tinytl-bias", 224, 8): {"memory_budget": "15MB", **_STORED},
}
_SMOKE_PIXELS = 8 * 128**2  # of a batch


def cells(claims: Iterable[Claim], scale: Scale = Scale.cpu) -> list[Cell]:
    """Returns the cells of an experiment, each once.

    Args:
        claims: Of the paper.
        scale: smoke counts all networks and measures the steps of few pixels, cpu measures all,
            full has every method, resolution and batch size of Table 2 and Figures 3 and 5, whether
            the paper gives a figure or not.
    """
    wanted = [claim for claim in claims if claim.experiment == NAME]
    measured = [claim.settings for claim in wanted if not claim.beside]
    if scale is Scale.full:
        measured += list(_all_of_proxyless(measured))
    found = {cell.name: cell for network in measured for cell in cells_of(network)}
    for claim in wanted:
        if claim.beside:  # ratios are of counts alone
            for network in (claim.settings, claim.beside):
                found.update(
                    {c.name: c for c in cells_of(network) if c.settings["cell"] == MODELED}
                )
    return [cell for cell in found.values() if _is_run(cell, scale)]


def cells_of(network: Mapping[str, Any]) -> Iterator[Cell]:
    """Yields the cells of a network: modeled, and the executions that are measured."""
    executions: dict[str, Settings] = {MODELED: {}, "plain": {}, "saving": {}}
    shape = (network["method"], network["resolution"], network["batch_size"])
    if network["backbone"] == "proxyless_mobile" and shape in PLANNED:
        executions["planned"] = PLANNED[shape]
    group = group_of(network)
    for execution, settings in executions.items():
        yield Cell(f"{group}-{execution}", group, {**network, "cell": execution, **settings})


def group_of(network: Mapping[str, Any]) -> str:
    """Returns the name that a network's cells begin with."""
    classes = "" if network["classes"] == CLASSES else f"-{network['classes']}classes"
    return (
        f"{network['backbone']}-{network['method']}-{network['resolution']}px"
        f"-batch{network['batch_size']}{classes}"
    )


def run(cell: Cell, place: Place | None = None) -> dict[str, Any]:
    """Returns the numbers of a cell, which are the same in any place.

    Raises:
        ConfigError: If there is no plan within its budget.
    """
    settings = dict(cell.settings)
    execution, classes = settings.pop("cell"), settings.pop("classes")
    with_modules = settings.pop("modules", False)
    config = FinetuneConfig.parse(
        {
            "dataset": "random images",
            "weights": "random",
            "execution": "plain" if execution == MODELED else execution,
            **settings,
        }
    )
    # a count needs shapes alone
    with torch.device("meta" if execution == MODELED else "cpu"):
        network = build_network(config, classes, with_modules=with_modules).network
    if execution == MODELED:
        return _modeled(network, config)
    return asdict(measure(network, config))


def value_of(claim: Claim, modeled: Mapping[str, Any], beside: Mapping[str, Any] | None) -> float:
    """Returns what a claim is held against, in its unit.

    Args:
        claim: Of this experiment.
        modeled: Numbers of the cell `modeled` of its settings.
        beside: The same of what a ratio is to.
    """
    if beside is None:
        return float(modeled["modeled_bytes"] / 1e6)
    name = {
        "memory_ratio": "modeled_bytes",
        "parameters_ratio": "parameters",
        "activations_ratio": "activation_bytes",
    }[claim.quantity]
    return float(beside[name] / modeled[name])


def compare(claim: Claim, results: Results) -> Row:
    """Returns a figure of memory beside the paper's count of its network, or of two for a ratio."""
    found = {name: results.find(cell) for name, cell in _by_execution(claim.settings).items()}
    modeled = found[MODELED]
    beside = results.find(_by_execution(claim.beside)[MODELED]) if claim.beside else None
    groups = dict.fromkeys(map(group_of, filter(None, (claim.settings, claim.beside))))
    command = "; ".join(f"tinytl bench run {NAME} --only {group}" for group in groups)
    measured = {
        name: result["numbers"]
        for name, result in found.items()
        if name in MEASURED and result is not None and not claim.beside
    }
    origins = tuple(result["provenance"] for result in (*found.values(), beside) if result)
    row = Row(claim, NOT_RUN, measured=measured, command=command, origins=origins)
    if modeled is None or (claim.beside and beside is None):
        return row
    ours = value_of(claim, modeled["numbers"], beside and beside["numbers"])
    return replace(row, state=PASS if claim.holds(ours) else FAIL, ours=ours)


def in_words(numbers: Mapping[str, Any]) -> str:
    """Returns a cell's bytes in MB."""
    return f"{numbers.get('peak_bytes', numbers.get('modeled_bytes', 0)) / 1e6:.1f} MB"


def _by_execution(network: Mapping[str, Any]) -> dict[str, Cell]:
    return {cell.settings["cell"]: cell for cell in cells_of(network)}


def _modeled(network: Network, config: FinetuneConfig) -> dict[str, int]:
    parameters = sum(p.numel() for p in network.parameters())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    counted = modeled_bytes(network, config.resolution, config.batch_size)
    held = FLOAT_BYTES * trained + FROZEN_WEIGHT_BYTES * (parameters - trained)
    return {
        "modeled_bytes": counted,
        "parameters": parameters,
        "trained_parameters": trained,
        "activation_bytes": counted - held,
    }


def _all_of_proxyless(networks: Iterable[Mapping[str, Any]]) -> Iterator[Settings]:
    known = [network for network in networks if network["backbone"] == "proxyless_mobile"]
    resolutions = sorted({network["resolution"] for network in known})
    batches = sorted({network["batch_size"] for network in known})
    for method, resolution, batch_size in product(PAPER_METHODS, resolutions, batches):
        shape = {"method": method, "resolution": resolution, "batch_size": batch_size}
        yield {**known[0], **shape}


def _is_run(cell: Cell, scale: Scale) -> bool:
    settings = cell.settings
    pixels = settings["batch_size"] * settings["resolution"] ** 2
    return scale is not Scale.smoke or settings["cell"] == MODELED or pixels <= _SMOKE_PIXELS


EXPERIMENT = Experiment(
    NAME, "memory of Tables 2, 3 and 4 and Figures 1, 3 and 5", cells, run, in_words, compare
)
