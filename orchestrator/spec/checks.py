"""Rules that hold between the parts of a sweep file."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from orchestrator.fronts.pareto import METRICS
from orchestrator.spec.rules import FROZEN, MODULES, PLANNED, SECTIONS, SPARSE, TRAIN_KEYS
from orchestrator.spec.settings import (
    MEMORY_AWARE_OBJECTIVES,
    HalvingSettings,
    SearchSettings,
)
from orchestrator.spec.space import Domain, Fixed, Range, SearchSpace
from tinytl.backbones import find_backbone
from tinytl.backbones.shapes import count_blocks
from tinytl.config import FinetuneConfig, SparseUpdateConfig
from tinytl.data import DATASETS, locate
from tinytl.errors import DataError, WeightsError, unknown_name
from tinytl.methods import METHODS
from tinytl.methods.sparse_update import too_many_blocks


@dataclass
class Draft:
    """What could be read of a sweep file; parts that are themselves invalid are not there.

    Attributes:
        data: Where own datasets are; None for the default root.
        sections: Values by key.
        space: The parameters.
        train: The settings that are the same in all trials.
    """

    data: Path | None
    sections: dict[str, Any] = field(default_factory=dict)
    space: SearchSpace = field(default_factory=lambda: SearchSpace(()))
    train: dict[str, Any] = field(default_factory=dict)

    def domain(self, name: str) -> Domain | None:
        """Returns the values that a setting may take in the sweep, from params or train."""
        return Fixed(self.train[name]) if name in self.train else self.space.domain(name)

    def values(self, name: str) -> Sequence[Any]:
        """Returns the values of a setting that is no range; none where it is not given."""
        domain = self.domain(name)
        return (domain.values() or ()) if domain else ()

    def path(self, name: str) -> str:
        """Returns where the file gives a setting, or would."""
        return f"train.{name}" if name in self.train else f"params.{name}"


def problems_across(draft: Draft) -> list[str]:
    """Returns one sentence for each rule between parts that is broken."""
    checks = (
        _doubles,
        _datasets,
        _objectives,
        _modules,
        _sparse_update,
        _frozen_weights,
        _planned,
        _norms,
        _resolutions,
        _last_convolution,
        _search,
        _memory_aware,
        _scheduler,
        _accuracy,
    )
    return list(chain.from_iterable(check(draft) for check in checks))


def _doubles(draft: Draft) -> Iterator[str]:
    params = draft.sections.get("params", {})
    for key in draft.sections.get("train", {}):
        if key in params and key in TRAIN_KEYS:
            yield f"params.{key}: is given in train too; remove one of the two"


def _datasets(draft: Draft) -> Iterator[str]:
    names = draft.sections.get("datasets", [])
    if len(set(names)) < len(names):
        yield f"datasets: must differ from each other, but got {names!r}"
    own = [name for name in names if name not in DATASETS or DATASETS[name].needs_data]
    if len(own) > 1 and draft.data is not None and draft.data.is_file():
        yield (
            f"datasets: {', '.join(own)} cannot all be the one archive {draft.data}; give --data a "
            "folder that holds each of them"
        )
    for name in dict.fromkeys(names):
        if draft.data is None and name not in DATASETS:
            try:
                locate(name, None)
            except DataError as error:
                yield f"datasets: {error}"


def _objectives(draft: Draft) -> Iterator[str]:
    for metric, mode in draft.sections.get("objectives", {}).items():
        if metric not in METRICS:
            yield f"objectives: {unknown_name('metric', metric, METRICS)}"
        elif mode != METRICS[metric]:
            yield f"objectives.{metric}: must be {METRICS[metric]}, but got {mode!r}"


def _modules(draft: Draft) -> Iterator[str]:
    yield from _unused(draft, MODULES, "has lite residual modules")


def _sparse_update(draft: Draft) -> Iterator[str]:
    yield from _unused(draft, SPARSE, "updates blocks in part")
    if not any(METHODS[method].uses_sparse_update for method in draft.values("method")):
        return
    path = f"{SPARSE}.blocks"
    blocks = draft.domain(path) or Fixed(SparseUpdateConfig().blocks)
    for backbone in draft.values("backbone"):
        # how many blocks a specialized network has is in its file
        with suppress(WeightsError):
            count = count_blocks(find_backbone(backbone))
            if highest(blocks) > count:
                yield too_many_blocks(f"params.{path}", backbone, count, highest(blocks))


def _frozen_weights(draft: Draft) -> Iterator[str]:
    yield from _unused(draft, FROZEN, "leaves weights frozen")
    if FROZEN in draft.sections.get("params", {}) and "plain" in draft.values("execution"):
        yield (
            f"{draft.path('execution')}: must be saving or planned with {FROZEN}, but got plain: "
            "stock layers have no stored weights"
        )


def _planned(draft: Draft) -> Iterator[str]:
    given = [key for key in PLANNED if key in draft.sections.get("params", {})]
    planned = "planned" in draft.values("execution")
    if planned and not given:
        yield (
            f"{draft.path('execution')}: planned needs params.memory_budget or "
            "params.max_slowdown; give one of them"
        )
    for method in draft.values("method") if planned else ():
        if METHODS[method].unplanned:
            yield (
                f"{draft.path('execution')}: planned does not take the method {method}: "
                f"{METHODS[method].unplanned}"
            )
    if given and not planned:
        yield (
            f"params.{given[0]}: no trial of this sweep has execution planned; remove it, or add "
            "planned to params.execution"
        )


def _unused(draft: Draft, key: str, what: str) -> Iterator[str]:
    """Yields a sentence where a section is given that no method of the sweep asks for."""
    methods = draft.values("method")
    users = [name for name in METHODS if SECTIONS[key].when({"method": name})]
    if key in draft.sections.get("params", {}) and methods and not set(methods) & set(users):
        yield (
            f"params.{key}: no method of this sweep ({', '.join(methods)}) {what}; remove it "
            f"({key}=null), or add {' or '.join(users)} to params.method"
        )


def _norms(draft: Draft) -> Iterator[str]:
    for backbone in draft.values("backbone"):
        available = find_backbone(backbone).norms
        for norm in draft.values("norm"):
            if norm is not None and norm not in available:
                yield (
                    f"{draft.path('norm')}: {norm!r} is not available for {backbone}: choose one "
                    f"of {', '.join(available)}"
                )


def _resolutions(draft: Draft) -> Iterator[str]:
    resolution = draft.domain("resolution")
    for backbone in draft.values("backbone"):
        smallest = find_backbone(backbone).min_resolution
        if resolution is not None and lowest(resolution) < smallest:
            yield (
                f"params.resolution: must be at least {smallest} for {backbone}, but got "
                f"{lowest(resolution)}"
            )


def _last_convolution(draft: Draft) -> Iterator[str]:
    for backbone in draft.values("backbone"):
        if 2 in draft.values("train_last") and not find_backbone(backbone).last_convolution:
            yield (
                f"{draft.path('train_last')}: must be 1 for {backbone}, but got 2: before its "
                "classifier come convolutions side by side, not one"
            )


def _search(draft: Draft) -> Iterator[str]:
    search: SearchSettings | None = draft.sections.get("search")
    if search is None:
        return
    if search.sampler != "grid":
        if search.trials is None:
            yield f"search.trials: required with sampler {search.sampler}, but missing"
        if search.seeds > 1:
            yield (
                f"search.seeds: must be 1 with sampler {search.sampler}, but got {search.seeds}: "
                "only sampler grid trains a configuration with several seeds"
            )
        return
    for parameter in draft.space.parameters:
        domain = parameter.domain
        if isinstance(domain, Range) and domain.values() is None:
            yield (
                f"params.{parameter.name}: sampler grid needs finitely many values, but got the "
                f"range (low={domain.low}, high={domain.high}); give a list or a step"
            )


def _memory_aware(draft: Draft) -> Iterator[str]:
    search: SearchSettings | None = draft.sections.get("search")
    objectives = draft.sections.get("objectives", MEMORY_AWARE_OBJECTIVES)
    if search and search.sampler == "memory_aware" and objectives != MEMORY_AWARE_OBJECTIVES:
        yield (
            f"search.sampler: memory_aware searches {' against '.join(MEMORY_AWARE_OBJECTIVES)}, "
            f"but the objectives are {', '.join(objectives)}; choose nsga2 or another sampler"
        )


def _scheduler(draft: Draft) -> Iterator[str]:
    search: SearchSettings | None = draft.sections.get("search")
    if search is None:
        return
    if search.scheduler == "none":
        if search.halving != HalvingSettings():
            yield (
                "search.halving: belongs to scheduler halving, but the scheduler is none; add "
                "scheduler: halving, or remove it"
            )
        return
    if "test_accuracy" in draft.sections.get("objectives", {}):
        yield (
            "search.scheduler: must be none with the objective test_accuracy, but got "
            f"{search.scheduler}: it is known after the last epoch, when nothing can be stopped"
        )
    epochs = draft.values("epochs") or [FinetuneConfig.model_fields["epochs"].default]
    if search.halving.grace_epochs >= max(epochs):
        yield (
            f"search.halving.grace_epochs: must be less than the {max(epochs)} epochs of a trial, "
            f"but got {search.halving.grace_epochs}: nothing would ever be stopped"
        )
    elif search.halving.share <= (least := search.halving.grace_epochs / min(epochs)):
        yield (
            f"search.halving.share: must be more than {least:g}, as {search.halving.grace_epochs} "
            f"of {min(epochs)} epochs is trained before any trial is stopped, but got "
            f"{search.halving.share:g}; give a larger share, or more epochs"
        )


def _accuracy(draft: Draft) -> Iterator[str]:
    """Accuracy comes from validation images, except in a grid, which learns nothing from it."""
    search: SearchSettings | None = draft.sections.get("search")
    several = [
        name
        for name in ("validation", "eval_images")
        if draft.domain(name) is not None and len(draft.values(name)) != 1
    ]
    for name in several:
        yield f"params.{name}: must be one value: accuracies on other images do not compare"
    if search is None or "validation" in several:
        return
    objectives = draft.sections.get("objectives", {})
    (validation,) = draft.values("validation") or [
        FinetuneConfig.model_fields["validation"].default
    ]
    grid = search.sampler == "grid"
    if validation == 0 and not grid:
        yield (
            f"{draft.path('validation')}: must be greater than 0 with sampler {search.sampler}, "
            "but got 0: without validation images the search would see the test images"
        )
    if validation == 0 and grid and "val_accuracy" in objectives:
        yield "objectives.val_accuracy: there is none with validation 0; give test_accuracy"
    if "test_accuracy" in objectives and not (grid and validation == 0):
        yield (
            "objectives.test_accuracy: the search must not see the test images; give val_accuracy, "
            "or sampler grid with validation 0"
        )


def highest(domain: Domain) -> Any:
    """Returns the largest value of numbers."""
    return domain.high if isinstance(domain, Range) else max(domain.values())


def lowest(domain: Domain) -> Any:
    """Returns the smallest value of numbers."""
    return domain.low if isinstance(domain, Range) else min(domain.values())
