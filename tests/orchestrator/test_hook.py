"""`on_finish`: what the command finds, and that its failure is a warning."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator import hook
from orchestrator.hook import run_on_finish
from tests.sweeps import spec
from tinytl.errors import ConfigError


def printed(command: str, directory: Path) -> str:
    output = io.StringIO()
    run_on_finish(command, directory, "stopped", Console(file=output, width=200))
    return output.getvalue()


def test_the_command_finds_the_sweep_and_its_end(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    # $0 is expanded by the sh that the command itself starts: there is no other shell
    command = f"""sh -c 'echo "$TINYTL_STATE $TINYTL_SWEEP $0" > "{file}"' '$HOME; $(x)'"""
    assert printed(command, tmp_path / "run") == ""
    assert file.read_text() == f"stopped {tmp_path / 'run'} $HOME; $(x)\n"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("false secret", "false ended with exit code 1"),
        ("/no/such/program secret", "/no/such/program cannot be started: No such file"),
        ("sleep 60 ", "sleep did not end within 0.2 s and was killed"),
        ("sh -c 'sleep 60 & wait' secret", "sh did not end within 0.2 s and was killed"),
    ],
)
def test_a_failure_is_a_warning_without_the_command_s_words(
    command: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "_SECONDS", 0.2)
    output = printed(command, tmp_path)
    assert f"on_finish: {problem}" in output
    assert "the sweep itself is stopped" in output
    assert "secret" not in output


@pytest.mark.parametrize("command", ["", "  ", "echo 'not closed"])
def test_what_is_no_command_is_told_before_anything_runs(command: str) -> None:
    with pytest.raises(ConfigError, match="on_finish: must be a command with each quote closed"):
        spec(on_finish=command)
