"""The parameters of a sweep file, each with the rule of its field in the schema."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.spec.space import (
    Condition,
    has_frozen_weights,
    has_modules,
    has_sparse_update,
)
from tinytl.backbones import find_backbone
from tinytl.config import (
    STAGED,
    Bits,
    FinetuneConfig,
    FrozenWeightsConfig,
    LiteResidualConfig,
    SparseUpdateConfig,
    Width,
    problems_of,
)
from tinytl.errors import ConfigError
from tinytl.methods import find_method

MODULES, FROZEN, SPARSE = "lite_residual", "frozen_weights", "sparse_update"
PLANNED = ("memory_budget", "max_slowdown")  # of trials whose execution is planned

RUN_FIELDS = {
    name: field
    for name, field in FinetuneConfig.model_fields.items()
    if name not in ("dataset", "seed", MODULES, FROZEN, SPARSE)  # the sweep sets the first two
}


@dataclass(frozen=True)
class Section:
    """Parameters below a key of their own.

    Attributes:
        fields: By name.
        when: Whether a trial with the given backbone and method has them.
        staged: The flat name of the one that may be given for each stage, empty where none may.
        rule: What holds for its value in one stage.
    """

    fields: Mapping[str, FieldInfo]
    when: Condition
    staged: str = ""
    rule: Any = None


SECTIONS = {
    MODULES: Section(
        LiteResidualConfig.model_fields, has_modules, f"{MODULES}.{STAGED[MODULES]}", Width
    ),
    FROZEN: Section(
        FrozenWeightsConfig.model_fields, has_frozen_weights, f"{FROZEN}.{STAGED[FROZEN]}", Bits
    ),
    SPARSE: Section(SparseUpdateConfig.model_fields, has_sparse_update),
}
PARAM_KEYS = (*RUN_FIELDS, *SECTIONS)
REQUIRED_KEYS = tuple(name for name, field in RUN_FIELDS.items() if field.is_required())
TRAIN_KEYS = tuple(name for name in RUN_FIELDS if name not in (*REQUIRED_KEYS, *PLANNED))
# raise a ConfigError for a name that is not known
_NAMES: dict[str, Callable[[str], Any]] = {"backbone": find_backbone, "method": find_method}


def _rule(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


# by flat name; what may differ between stages is given for one at a time
RULES: dict[str, Any] = {name: _rule(field) for name, field in RUN_FIELDS.items()}
for _name, _section in SECTIONS.items():
    RULES |= {f"{_name}.{field}": _rule(info) for field, info in _section.fields.items()}
    if _section.staged:
        RULES[_section.staged] = _section.rule


@functools.cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(RULES[name])


def parse_value(name: str, value: Any, path: str) -> Any:
    """Returns the value of a parameter as its field holds it.

    Args:
        name: The parameter's flat name.
        value: As the sweep file gives it.
        path: Where the sweep file gives it.

    Raises:
        ConfigError: If the value breaks the field's rule.
    """
    try:
        value = _adapter(name).validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(problems_of(error, f"{path}.")) from None
    if name in _NAMES:
        try:
            _NAMES[name](value)
        except ConfigError as error:
            raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None
    return value
