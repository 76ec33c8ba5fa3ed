"""The experiment `paper-smoke`: do the six methods come in the paper's order, on a small computer?

A study is a dataset with a backbone, in a file of `studies/` that says what it has otherwise than
`recipe.yaml`. All methods are trained with several seeds, and the memory of a step is measured;
those that the paper does not have stand on the same fronts. What is held against the paper is the
order of its six methods by accuracy, no accuracy: backbones are smaller, images are few, and
modules start from random weights, as in Table 4.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.paper.claims import Claim
from benchmarks.paper.experiments.base import Experiment, Scale
from benchmarks.paper.experiments.sweeps import in_words, overridden, run_sweep
from benchmarks.paper.results import Cell
from orchestrator.spec.file import read_yaml
from tinytl.config import problems_of
from tinytl.errors import ConfigError

NAME = "paper-smoke"
RECIPE = Path(__file__).with_name("recipe.yaml")
STUDIES = Path(__file__).with_name("studies")


class StudyFile(BaseModel):
    """A file of `studies/`.

    Attributes:
        about: What is trained on what.
        column: The paper's column that it is laid beside; empty for the mean of its nine.
        also: An archive that is taken where no folder of datasets has the dataset.
        sweep: What the sweep file has otherwise than the recipe, section by section.
        scales: Overrides of the scales that run it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    column: str = ""
    also: str | None = None
    sweep: dict[str, Any]
    scales: Annotated[dict[Scale, tuple[str, ...]], Field(min_length=1)]


@cache
def study_files() -> Mapping[str, StudyFile]:
    """Returns the studies by name.

    Raises:
        ConfigError: If a file is not valid.
    """
    return {path.stem: _read(path) for path in sorted(STUDIES.glob("*.yaml"))}


def cells(claims: Iterable[Claim], scale: Scale) -> list[Cell]:
    """Returns a cell for each study that the scale runs."""
    return [cell_of(name, scale) for name, study in study_files().items() if scale in study.scales]


def cell_of(name: str, scale: Scale) -> Cell:
    """Returns the cell of a study."""
    study = study_files()[name]
    raw = read_yaml(RECIPE)
    for section, content in study.sweep.items():
        below = isinstance(content, dict)
        raw[section] = {**raw.get(section, {}), **content} if below else content
    sweep = overridden(raw, study.scales[scale])
    sweep["name"] = f"{NAME}_{name}_{scale.value}"
    return Cell(f"{name}-{scale.value}", name, {"sweep": sweep, "also": study.also})


def _read(path: Path) -> StudyFile:
    try:
        return StudyFile.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError([f"{path}: {problem}" for problem in problems_of(error)]) from None


EXPERIMENT = Experiment(
    NAME, "the order of the six methods on small data", cells, run_sweep, in_words
)
