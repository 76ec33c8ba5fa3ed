"""The forms in which a sweep file gives parameters: a value, a list of choices, a range.

A learning rate may be one value for each method, because what is best differs between them.

Each value is checked by the rule of its field in `FinetuneConfig`, so that there is one schema.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from orchestrator.spec.rules import (
    PARAM_KEYS,
    PLANNED,
    REQUIRED_KEYS,
    RULES,
    RUN_FIELDS,
    SECTIONS,
    Section,
    parse_value,
)
from orchestrator.spec.space import (
    DECIDING,
    Choice,
    Domain,
    Fixed,
    HasMethod,
    HasStage,
    Parameter,
    Range,
    SearchSpace,
    always,
    is_planned,
)
from tinytl.backbones import find_backbone
from tinytl.errors import ConfigError, unknown_name
from tinytl.methods import METHODS

MOST_VALUES = 100_000  # of a range that can be counted off
BY_METHOD = "by_method"


@contextmanager
def collecting(problems: list[str]) -> Iterator[None]:
    """Adds the problems of a ConfigError raised inside to the list, and goes on behind it."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def parse_domain(name: str, form: Any, path: str) -> Domain:
    """Returns what a value (fixed), a list (a choice) or `{low, high, ...}` (a range) means.

    Raises:
        ConfigError: If it is none of these, or a value breaks the rule of the parameter's field.
    """
    if isinstance(form, list):
        return _parse_choice(name, form, path)
    if isinstance(form, dict):
        return _parse_range(name, form, path)
    return Fixed(parse_value(name, form, path))


def parse_space(params: Mapping[str, Any]) -> tuple[SearchSpace, list[str]]:
    """Returns the search space of the file's `params`, as far as it is valid, and all problems."""
    problems = [
        f"params: {unknown_name('parameter', key, PARAM_KEYS)}"
        for key in params
        if key not in PARAM_KEYS
    ]
    problems += [
        f"params.{key}: required, but missing" for key in REQUIRED_KEYS if key not in params
    ]
    names = [name for name in params if name in RUN_FIELDS]
    parameters: list[Parameter] = []
    for name in sorted(names, key=lambda name: name not in DECIDING):
        form = params[name]
        with collecting(problems):
            if name == "learning_rate" and isinstance(form, dict) and BY_METHOD in form:
                methods = SearchSpace(tuple(parameters)).domain("method")
                parameters += _parse_by_method(name, form, methods)
                continue
            when = is_planned if name in PLANNED else always
            parameters.append(Parameter(name, parse_domain(name, form, f"params.{name}"), when))
    backbones = SearchSpace(tuple(parameters)).domain("backbone")
    names = [*(backbones.values() or ())] if backbones else []
    stages = {name: find_backbone(name).stages for name in names}
    for key in (key for key in params if key in SECTIONS):
        found_parameters, found = _parse_section(key, params[key], stages)
        parameters += found_parameters
        problems += found
    return SearchSpace(tuple(parameters)), problems


def _parse_by_method(name: str, form: Mapping[str, Any], methods: Domain | None) -> list[Parameter]:
    """Returns the parameters of `{by_method: {METHOD: VALUE, ...}}`, one for each method."""
    path = f"params.{name}.{BY_METHOD}"
    given = form[BY_METHOD]
    if len(form) > 1 or not isinstance(given, dict):
        raise ConfigError(
            f"{path}: must be a mapping of methods to values and stand alone, but got {form!r}"
        )
    problems = [
        f"{path}: {unknown_name('method', key, METHODS)}" for key in given if key not in METHODS
    ]
    problems += [
        f"{path}.{method}: required, but missing: the sweep has this method"
        for method in (methods.values() or () if methods else ())
        if method not in given
    ]
    parameters = []
    for method in (method for method in given if method in METHODS):
        with collecting(problems):
            value = parse_value(name, given[method], f"{path}.{method}")
            parameters.append(Parameter(name, Fixed(value), HasMethod(method)))
    if problems:
        raise ConfigError(problems)
    return parameters


def _parse_choice(name: str, form: Sequence[Any], path: str) -> Choice:
    problems: list[str] = []
    choices: list[Any] = []
    for index, value in enumerate(form):
        with collecting(problems):
            choices.append(parse_value(name, value, f"{path}.{index}"))
    if not form:
        problems.append(f"{path}: a list of choices must hold at least one value, but got []")
    if len(set(choices)) < len(choices):
        problems.append(f"{path}: choices must differ from each other, but got {form!r}")
    if problems:
        raise ConfigError(problems)
    return Choice(tuple(choices))


def _parse_range(name: str, form: Mapping[str, Any], path: str) -> Range:
    kind = _number_type(RULES[name])
    if kind is None:
        raise ConfigError(
            f"{path}: a range needs a parameter that takes any number, but got {dict(form)!r}; "
            "give one value or a list of choices"
        )
    staged = name in (section.staged for section in SECTIONS.values())
    keys = ("low", "high", "log", "step") + (("per_stage", "stages") if staged else ())
    problems = [f"{path}: {unknown_name('key', key, keys)}" for key in form if key not in keys]
    bounds = {}
    for key in ("low", "high"):
        with collecting(problems):
            if key not in form:
                raise ConfigError(f"{path}.{key}: required, but missing")
            bounds[key] = parse_value(name, form[key], f"{path}.{key}")
    log, step = form.get("log", False), form.get("step")
    problems += _step_problems(log, step, kind, path)
    if len(bounds) == 2:
        problems += _bound_problems(**bounds, log=log, path=path)
    if problems:
        raise ConfigError(problems)
    spacing = step or (1 if kind is int else None)
    if spacing is not None and (bounds["high"] - bounds["low"]) / spacing > MOST_VALUES:
        raise ConfigError(
            f"{path}: a range must hold at most {MOST_VALUES} values, but got {dict(form)!r}; "
            "give a larger step or closer bounds"
        )
    return Range(**bounds, log=log, step=step if step is None else kind(step))


def _step_problems(log: Any, step: Any, kind: type, path: str) -> Iterator[str]:
    if not isinstance(log, bool):
        yield f"{path}.log: must be true or false, but got {log!r}"
    if step is None:
        return
    if log is True:
        yield f"{path}: a range has a step or is logarithmic, but got both; remove one"
    number = int if kind is int else (int, float)
    if isinstance(step, bool) or not isinstance(step, number) or not 0 < step < float("inf"):
        noun = "a whole number" if kind is int else "a number"
        yield f"{path}.step: must be {noun} greater than 0, but got {step!r}"


def _bound_problems(low: Any, high: Any, log: Any, path: str) -> Iterator[str]:
    if low is None or high is None:
        yield f"{path}: bounds must be numbers, but got (low={low}, high={high})"
    elif not low <= high:
        yield f"{path}: `low <= high` must hold, but got (low={low}, high={high})"
    elif log is True and low <= 0:
        yield f"{path}: `low > 0` must hold for a logarithmic range, but got (low={low})"


def _number_type(rule: Any) -> type | None:
    """Returns int or float where a rule is about any such number, else None."""
    if rule is int or rule is float:
        return rule
    kinds = (_number_type(part) for part in get_args(rule))
    return next((kind for kind in kinds if kind), None)


def _parse_section(
    key: str, form: Any, stages: Mapping[str, int]
) -> tuple[list[Parameter], list[str]]:
    path, section = f"params.{key}", SECTIONS[key]
    if not isinstance(form, dict):
        return [], [f"{path}: must be a mapping of {', '.join(section.fields)}, but got {form!r}"]
    problems = [
        f"{path}: {unknown_name('key', entry, section.fields)}"
        for entry in form
        if entry not in section.fields
    ]
    parameters: list[Parameter] = []
    for entry in (entry for entry in form if entry in section.fields):
        name = f"{key}.{entry}"
        with collecting(problems):
            if name == section.staged and _is_per_stage(form[entry]):
                parameters += _parse_stages(section, form[entry], stages)
            else:
                domain = parse_domain(name, form[entry], f"params.{name}")
                parameters.append(Parameter(name, domain, section.when))
    return parameters, problems


def _is_per_stage(form: Any) -> bool:
    return isinstance(form, dict) and any(
        key in ("per_stage", "stages") or isinstance(key, int) for key in form
    )


def _parse_stages(
    section: Section, form: dict[Any, Any], stages: Mapping[str, int]
) -> list[Parameter]:
    """Returns the parameters of `{stages: [...]}`, or of `{per_stage: ..., 0: ..., 1: ...}`.

    In the second form a stage's own entry goes before `per_stage`.
    """
    name = section.staged
    path = f"params.{name}"
    count = max(stages.values(), default=0)
    if "stages" in form:
        given = _listed_stages(form, stages, path)
    else:
        given = dict.fromkeys(range(count), form["per_stage"]) if "per_stage" in form else {}
        given |= {key: value for key, value in form.items() if key != "per_stage"}
    problems = [
        f"{path}.{stage}: unknown stage; the stages of {_counts(stages)}"
        for stage in given
        if stages and stage not in range(count)
    ]
    problems += [
        f"{path}.{stage}: required, but missing; give it, or per_stage for all that are not given"
        for stage in range(count)
        if stage not in given
    ]
    parameters = []
    for stage in (stage for stage in range(count) if stage in given):
        with collecting(problems):
            domain = parse_domain(name, given[stage], f"{path}.{stage}")
            condition = HasStage(stage, section.when)
            parameters.append(Parameter(f"{name}.{stage}", domain, condition))
    if problems:
        raise ConfigError(problems)
    return parameters


def _listed_stages(form: dict[Any, Any], stages: Mapping[str, int], path: str) -> dict[Any, Any]:
    values = form["stages"]
    if len(form) > 1 or not isinstance(values, list):
        raise ConfigError(
            f"{path}.stages: must be a list with one entry for each stage and stand alone, "
            f"but got {form!r}"
        )
    if any(len(values) != count for count in stages.values()):
        raise ConfigError(
            f"{path}.stages: must have one entry for each stage, but got {len(values)} entries "
            f"and the stages of {_counts(stages)}"
        )
    return dict(enumerate(values))


def _counts(stages: Mapping[str, int]) -> str:
    return ", ".join(f"{name} are 0 to {count - 1}" for name, count in stages.items())
