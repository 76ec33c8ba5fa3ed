"""Settings of a cluster: defaults, what a file changes, and all its mistakes at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cluster import ClusterSettings, load_settings
from tinytl.errors import ConfigError


def test_a_file_changes_only_what_it_says(settings: Callable[..., ClusterSettings]) -> None:
    defaults = load_settings(None)
    changed = settings(image="registry.example/tinytl:1", node={"count": 4, "memory_bytes": "8GiB"})
    assert (changed.image, changed.node.count) == ("registry.example/tinytl:1", 4)
    assert changed.node.memory_bytes == 8 * 1024**3
    assert changed.node.cpus == defaults.node.cpus
    assert changed.model_copy(update={"image": None, "node": defaults.node}) == defaults


MISTAKES = {
    "storage": ("shared", "pattern '^/', but got 'shared'"),
    "nodes": ({"count": 0}, "nodes: unknown key"),
    "node": ({"count": 0}, "node.count: input should be greater than or equal to 1, but got 0"),
    "slurm": ({"time": "a day"}, "slurm.time: string should match pattern"),
    "ray_up": ({"provider": {"type": "aws"}}, "machine must describe one"),
}


@pytest.mark.parametrize("key", MISTAKES)
def test_a_mistake_is_told(key: str, settings: Callable[..., ClusterSettings]) -> None:
    given, sentence = MISTAKES[key]
    with pytest.raises(ConfigError) as error:
        settings(**{key: given})
    assert sentence in str(error.value)
    assert "--print-settings" in str(error.value)


def test_all_mistakes_are_told_at_once(settings: Callable[..., ClusterSettings]) -> None:
    with pytest.raises(ConfigError) as error:
        settings(**{key: given for key, (given, _) in MISTAKES.items()})
    assert len(error.value.problems) == len(MISTAKES) + 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"- 1", "must be a mapping"), (b"\xff", "cannot read"), (b"node: {a", "correct the YAML")],
)
def test_what_is_no_settings_file_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        load_settings(file)


def test_an_empty_file_and_a_missing_one(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("")
    assert load_settings(file) == load_settings(None)
    with pytest.raises(ConfigError, match="No such file"):
        load_settings(tmp_path / "none.yaml")
