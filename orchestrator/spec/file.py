"""Reading and writing sweep files: finding them, YAML as people write it, `key=value` overrides."""

import re
from collections.abc import Hashable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from tinytl.errors import ConfigError, unknown_name

SUFFIX = ".yaml"


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 2e-4 is a number and no key is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back as it was, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# YAML 1.1 wants a dot in a number with an exponent; people do not write it
_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def shipped_names() -> list[str]:
    """Returns the names of the shipped sweep files, such as paper/pets_batch8."""
    root = resources.files("search_spaces")
    folders = {"": root, "paper/": root / "paper"}
    return sorted(
        prefix + file.name.removesuffix(SUFFIX)
        for prefix, folder in folders.items()
        for file in folder.iterdir()
        if file.name.endswith(SUFFIX)
    )


def read_sweep_file(path_or_name: str) -> dict[str, Any]:
    """Returns the content of a sweep file.

    Args:
        path_or_name: Path of a file, or the name of one that comes with the package.

    Raises:
        ConfigError: If there is no such file, or it is not a YAML mapping.
    """
    path = Path(path_or_name)
    if path.is_file():
        return _mapping(read_yaml(path))
    if path_or_name in shipped_names():
        file = resources.files("search_spaces") / f"{path_or_name}{SUFFIX}"
        return _mapping(parse_yaml(file.read_text(encoding="utf-8"), path_or_name))
    hint = unknown_name("sweep file", path_or_name, shipped_names())
    raise ConfigError(f"{hint}; or give the path of a YAML file")


def read_yaml(path: Path) -> Any:
    """Returns the content of a YAML file.

    Raises:
        ConfigError: If it cannot be read, or is not valid YAML.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file in UTF-8; give a YAML file") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; correct the path") from None


def parse_yaml(text: str, where: str) -> Any:
    """Returns the value of a YAML text.

    Raises:
        ConfigError: If it is not valid YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader of our own)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: {error.problem}; correct the YAML there") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from None


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Returns YAML text that `parse_yaml` reads back as the same value."""
    return yaml.dump(
        dict(value), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100
    )


def with_overrides(
    raw: dict[str, Any], overrides: Sequence[str], sections: Sequence[str]
) -> dict[str, Any]:
    """Returns the sweep file's content with `key=value` texts put in.

    A key that starts with a section of the file (`search.trials`) is a path in the file; any other
    (`resolution`, `lite_residual.width.0`) is a parameter, `params.<key>`. Values are YAML; null
    removes what has keys of its own (`lite_residual=null`). A parameter set in `params` leaves
    `train`, and the other way round.

    Raises:
        ConfigError: With one sentence for each text that is not `key=value`, or that cannot be
            put into the file.
    """
    problems = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            problems.append(f"{text!r}: an override must be key=value, such as search.trials=10")
            continue
        parts: list[str | int] = [int(p) if p.isdecimal() else p for p in key.strip().split(".")]
        path = parts if parts[0] in sections else ["params", *parts]
        try:
            raw = _assigned(raw, path, parse_yaml(value, repr(text)), text)
        except ConfigError as error:
            problems += error.problems
            continue
        raw = _without_double(raw, path)
    if problems:
        raise ConfigError(problems)
    return raw


def _without_double(raw: dict[str, Any], path: Sequence[str | int]) -> dict[str, Any]:
    other = {"params": "train", "train": "params"}.get(str(path[0]))
    if len(path) < 2 or other is None or not isinstance(raw.get(other), dict):
        return raw
    return {**raw, other: {key: value for key, value in raw[other].items() if key != path[1]}}


def _assigned(tree: Any, path: Sequence[str | int], value: Any, text: str) -> Any:
    """Returns a copy of the tree with the value at the path."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(head, int) and not rest:
        return _with_stage(tree, head, value, text)
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{text!r}: {tree!r} has no entry {head!r}; set it as a whole")
    tree = tree or {}
    if value is None and not rest and isinstance(tree.get(head), dict):
        return {key: kept for key, kept in tree.items() if key != head}
    return {**tree, head: _assigned(tree.get(head), rest, value, text)}


def _with_stage(widths: Any, stage: int, value: Any, text: str) -> dict[Any, Any]:
    """Returns the widths of all stages with one of them set."""
    if widths is None or isinstance(widths, int | float):
        widths = {} if widths is None else {"per_stage": widths}
    listed = widths.get("stages") if isinstance(widths, dict) else None
    if isinstance(listed, list) and stage < len(listed):
        return {"stages": [*listed[:stage], value, *listed[stage + 1 :]]}
    if not isinstance(widths, dict) or "stages" in widths or "low" in widths:
        raise ConfigError(f"{text!r}: {widths!r} has no entry {stage}; set it as a whole")
    return {**widths, stage: value}


def _mapping(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"a sweep file must be a mapping of its keys, but got {raw!r}")
    return raw
