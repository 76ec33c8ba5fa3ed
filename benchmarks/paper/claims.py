"""The paper's figures as data: reads `claims.yaml`, whose head says what stands in it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.fronts.paper import paper_points
from tinytl.config import problems_of
from tinytl.errors import ConfigError
from tinytl.methods import METHODS

FILE = Path(__file__).with_name("claims.yaml")
Quantity = Literal["memory", "accuracy", "memory_ratio", "parameters_ratio", "activations_ratio"]
UNITS: dict[Quantity, str] = {
    "memory": "MB",
    "accuracy": "%",
    "memory_ratio": "x",
    "parameters_ratio": "x",
    "activations_ratio": "x",
}
Settings = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """One figure of the paper.

    Attributes:
        table: The table or figure where it stands.
        row: Its row.
        column: Its column: a dataset, a resolution, or the quantity's own.
        quantity: What it says.
        value: What the paper gives, in `unit`.
        tolerance: How far one's own may be from it, in the same unit.
        experiment: Which experiment reproduces it; empty where none does yet.
        not_yet: Why none does; empty where one does.
        note: What is known of a difference.
        settings: The configuration that it is a figure of.
        beside: The configuration that a ratio is to; empty for what is no ratio.
    """

    table: str
    row: str
    column: str
    quantity: Quantity
    value: float
    tolerance: float
    experiment: str
    not_yet: str
    note: str
    settings: Mapping[str, Any]
    beside: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What no other claim is called."""
        return f"{self.table}, {self.row}, {self.column}"

    @property
    def unit(self) -> str:
        """Unit of value and tolerance."""
        return UNITS[self.quantity]

    @property
    def recipe(self) -> str:
        """The sweep file of an accuracy."""
        return f"paper/{self.column}_batch8"

    @property
    def overrides(self) -> list[str]:
        """What an accuracy puts in place of its recipe, as on the command line of a sweep.

        The recipes set up lite residual modules, which a method without them refuses by itself.
        """
        settings = dict(self.settings)
        if not METHODS[settings["method"]].uses_lite_residual:
            settings["lite_residual"] = "null"
        return [
            f"{key}={value}".replace("{column}", self.column) for key, value in settings.items()
        ]

    def holds(self, value: float) -> bool:
        """Returns whether one's own value is within the tolerance."""
        return abs(value - self.value) <= self.tolerance


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Row(_Part):
    settings: Settings = {}
    values: tuple[float | None, ...] | None = None
    tolerance: Annotated[float, Field(gt=0)] | None = None
    not_yet: str = ""
    note: str = ""


class _Grid(_Part):
    table: str
    quantity: Quantity
    columns: Annotated[dict[str, Settings], Field(min_length=1)]
    rows: Annotated[dict[str, _Row], Field(min_length=1)]
    settings: Settings = {}
    beside: Settings = {}
    tolerance: Annotated[float, Field(gt=0)] | None = None
    tolerance_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    experiment: Literal["", "paper-memory", "paper-accuracy"] = ""
    not_yet: str = ""

    def problems(self) -> Iterator[str]:
        """Yields a sentence for each rule across its parts that is broken."""
        if (self.tolerance is None) == (self.tolerance_share is None):
            yield "give either tolerance or tolerance_share"
        if bool(self.experiment) == bool(self.not_yet):
            yield "give either the experiment or why there is none yet (not_yet)"
        if self.quantity.endswith("_ratio") != bool(self.beside):
            yield "a ratio needs beside, and nothing else may have it"
        for label, row in self.rows.items():
            if row.values is None and label not in _published():
                yield f"{label}: give its values, for orchestrator/fronts/paper.yaml has none"
            if row.values is not None and len(row.values) != len(self.columns):
                yield (
                    f"{label}: as many values as columns are needed ({len(self.columns)}), but got "
                    f"{len(row.values)}"
                )

    def claims(self) -> Iterator[Claim]:
        """Yields a claim for each figure that the paper has."""
        for label, row in self.rows.items():
            values = row.values or [_published()[label].get(column) for column in self.columns]
            for (column, settings), value in zip(self.columns.items(), values, strict=True):
                if value is not None:
                    yield self._claim(label, row, column, settings, value)

    def _claim(self, label: str, row: _Row, column: str, settings: Settings, value: float) -> Claim:
        not_yet = row.not_yet or self.not_yet
        return Claim(
            table=self.table,
            row=label,
            column=column,
            quantity=self.quantity,
            value=value,
            tolerance=row.tolerance or self.tolerance or (self.tolerance_share or 0) * value,
            experiment="" if not_yet else self.experiment,
            not_yet=not_yet,
            note=row.note,
            settings={**self.settings, **settings, **row.settings},
            beside={**self.settings, **settings, **self.beside} if self.beside else {},
        )


class _File(_Part):
    shared: dict[str, Any] = {}  # what several tables refer to
    tables: Annotated[list[_Grid], Field(min_length=1)]


def _published() -> dict[str, dict[str, float]]:
    """Returns the rows of Tables 2 and 3 that the Pareto page has: accuracies, and memory in MB."""
    rows: dict[str, dict[str, float]] = {}
    for dataset, points in paper_points().items():
        for point in points:
            row = rows.setdefault(point["label"], {"memory": point["modeled_bytes"] / 1e6})
            row[dataset] = round(100 * point["test_accuracy"], 1)  # as it is printed
    return rows


def load_claims(path: Path = FILE) -> tuple[Claim, ...]:
    """Returns all claims of a file, in its order.

    Raises:
        ConfigError: With every problem of the file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        grids = _File.model_validate(content).tables
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError([f"{path}: {problem}" for problem in problems_of(error)]) from None
    problems = [
        f"{path}: {grid.table}, {grid.quantity}: {problem}"
        for grid in grids
        for problem in grid.problems()
    ]
    if problems:
        raise ConfigError(problems)
    claims = tuple(claim for grid in grids for claim in grid.claims())
    counts = Counter(claim.name for claim in claims)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ConfigError([f"{path}: {name}: given more than once; keep one" for name in twice])
    return claims
