"""The sweep file as one model; every error of a file is found at once."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from orchestrator.spec.checks import Draft, problems_across
from orchestrator.spec.file import dump_yaml, read_sweep_file, with_overrides
from orchestrator.spec.forms import collecting, parse_space
from orchestrator.spec.rules import PARAM_KEYS, TRAIN_KEYS, parse_value
from orchestrator.spec.settings import (
    Limits,
    Mode,
    SearchSettings,
    Section,
    Tracking,
    parse_command,
)
from orchestrator.spec.space import Choice, Parameter, SearchSpace
from tinytl.config import FinetuneConfig, problems_of
from tinytl.errors import ConfigError, unknown_name

# a part of the names of directories
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]


class SweepSpec(Section):
    """A sweep; `load_spec` and `parse` build it and check all of it.

    Attributes:
        name: The sweep's name.
        datasets: Each has its study and its front.
        objectives: Metrics, and whether more (max) or less (min) of each is better.
        params: Each trial's parameters in the forms of the file; `space` is what they mean.
        train: Settings that are the same in all trials.
        search: How each study searches.
        confirm: With how many seeds that the search did not use the members of a finished front
            are trained again.
        limits: Bounds of the sweep.
        tracking: Where the sweep can be looked at.
        on_finish: A command to run when the sweep ends, see `orchestrator.hook.run_on_finish`.
    """

    name: _Name
    datasets: Annotated[list[_Name], Field(min_length=1)]
    objectives: Annotated[dict[str, Mode], Field(min_length=1)]
    params: dict[Any, Any]
    train: Annotated[dict[Any, Any], Field(default_factory=dict)]
    search: SearchSettings = SearchSettings()
    confirm: Annotated[int, Field(ge=0, le=100, strict=True)] = 0
    limits: Limits = Limits()
    tracking: Tracking = Tracking()
    on_finish: Annotated[str, AfterValidator(parse_command)] | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any], *, data: Path | None = None) -> Self:
        """Builds the sweep from a file's content.

        Args:
            raw: The content.
            data: Where own datasets are; without it every dataset must be a known one.

        Raises:
            ConfigError: With one sentence for each rule that is broken, anywhere in the file.
        """
        draft = Draft(data=data)
        problems = [
            f"{key}: {unknown_name('key', key, cls.model_fields)}"
            for key in raw
            if key not in cls.model_fields
        ]
        for key, field in cls.model_fields.items():
            if raw.get(key) is None:  # a section without entries
                if field.is_required():
                    problems.append(f"{key}: required, but missing")
                else:
                    draft.sections[key] = field.get_default(call_default_factory=True)
                continue
            rule = Annotated[(field.annotation, *field.metadata)] if field.metadata else None
            with collecting(problems):
                draft.sections[key] = _validated(rule or field.annotation, raw[key], key)
        if "search" in draft.sections and "objectives" in draft.sections:
            search: SearchSettings = draft.sections["search"]
            draft.sections["search"] = search.with_sampler(draft.sections["objectives"])
        if "params" in draft.sections:
            draft.space, found = parse_space(draft.sections["params"])
            problems += found
        draft.train, found = _parse_train(draft.sections.get("train", {}))
        problems += [*found, *problems_across(draft)]
        if problems:
            raise ConfigError(problems)
        return cls(**draft.sections)

    @cached_property
    def space(self) -> SearchSpace:
        """What a trial's parameters may be; the seed is one of them where a grid has several."""
        space, problems = parse_space(self.params)
        if problems:
            raise ConfigError(problems)
        seed, seeds = self.search.seed, self.search.seeds
        if seeds == 1:
            return space
        return SearchSpace(
            (*space.parameters, Parameter("seed", Choice(tuple(range(seed, seed + seeds)))))
        )

    def values(self, setting: str) -> Sequence[Any]:
        """Returns all values that trials may have of a setting that is no range."""
        domain = self.space.domain(setting)
        if domain is not None:
            return domain.values() or ()
        train, _ = _parse_train(self.train)
        return (train.get(setting, FinetuneConfig.model_fields[setting].default),)

    def finetune_config(self, study: str, params: Mapping[str, Any]) -> FinetuneConfig:
        """Returns the configuration of one trial.

        Args:
            study: The dataset.
            params: Flat parameters, out of `space`.

        Raises:
            ConfigError: If a value breaks a rule.
        """
        train, _ = _parse_train(self.train)
        seed = {"seed": self.search.seed}
        return FinetuneConfig.from_flat({**seed, **train, **params, "dataset": study})

    def resolved_yaml(self) -> str:
        """Returns a sweep file that says the same, with overrides and defaults written out."""
        return dump_yaml(self.model_dump())


def load_spec(
    path_or_name: str,
    overrides: Sequence[str] = (),
    *,
    trials: int | None = None,
    data: Path | None = None,
) -> SweepSpec:
    """Reads a sweep file and checks all of it.

    Args:
        path_or_name: Path of a YAML file, or the name of one that comes with the package.
        overrides: `key=value` texts, see `orchestrator.spec.file.with_overrides`.
        trials: Goes before the file's `search.trials`.
        data: Where own datasets are; without it every dataset must be a known one.

    Raises:
        ConfigError: With one sentence for each rule that is broken, anywhere in the file.
    """
    raw = read_sweep_file(path_or_name)
    if trials is not None:
        overrides = [*overrides, f"search.trials={trials}"]
    return SweepSpec.parse(with_overrides(raw, overrides, tuple(SweepSpec.model_fields)), data=data)


def _validated(rule: Any, value: Any, key: str) -> Any:
    try:
        return TypeAdapter(rule).validate_python(value)
    except ValidationError as error:
        raise ConfigError(list(_sentences(error, rule, key))) from None


def _sentences(error: ValidationError, rule: Any, key: str) -> Iterator[str]:
    """Yields what `problems_of` says, with the valid keys for one that is unknown."""
    sentences = problems_of(error, f"{key}.")
    for problem, sentence in zip(error.errors(), sentences, strict=True):
        if problem["type"] == "extra_forbidden":
            *above, name = problem["loc"]
            section = rule
            for part in above:
                section = section.model_fields[part].annotation
            unknown = unknown_name("key", name, section.model_fields)
            yield f"{'.'.join([key, *map(str, above)])}: {unknown}"
        elif problem["type"] in ("model_type", "dict_type"):
            yield f"{key}: must be a mapping, but got {problem['input']!r}"
        else:
            yield sentence


def _parse_train(train: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in train.items():
        if key in PARAM_KEYS and key not in TRAIN_KEYS:
            problems.append(f"train.{key}: belongs in params; move it there")
        elif key not in TRAIN_KEYS:
            problems.append(f"train: {unknown_name('setting', key, TRAIN_KEYS)}")
        elif isinstance(value, list | dict):
            problems.append(
                f"train.{key}: must be one value, but got {value!r}; search it in params"
            )
        else:
            with collecting(problems):
                values[key] = parse_value(key, value, f"train.{key}")
    return values, problems
