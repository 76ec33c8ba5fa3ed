"""The library and `tinytl memory` load no sweep machinery."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

MACHINERY = {"ray", "optuna", "mlflow"}


def loaded_by(code: str) -> set[str]:
    """Returns which of the machinery's packages are loaded after `code` ran in a new process."""
    report = f"import sys; print('loaded', *({MACHINERY} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    _, *names = done.stdout.splitlines()[-1].split()
    return set(names)


IMPORTS = "import tinytl, tinytl.finetune, tinytl.builtin, tinytl.engine.measure"
COMMAND = """
from orchestrator.cli import main
try:
    main({arguments})
except SystemExit as exit:
    assert not exit.code, exit.code
"""
TINY = ["memory", "--backbone", "proxyless_tiny", "--resolution", "32", "--measure"]
CODE = {
    "the library and tinytl memory": IMPORTS + COMMAND.format(arguments=TINY),
    "tinytl data ls": COMMAND.format(arguments=["data", "ls"]),
    "tinytl --version": COMMAND.format(arguments=["--version"]),
}


@pytest.mark.parametrize("what", CODE)
def test_no_sweep_machinery_is_loaded(what: str) -> None:
    assert loaded_by(CODE[what]) == set()


def test_the_check_sees_what_is_loaded() -> None:
    assert loaded_by("import optuna") == {"optuna"}


def test_help_lists_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    commands = {point.name for point in entry_points(group="tinytl.commands")}
    assert commands >= {"data", "memory", "sweep", "ui"}
    assert commands <= set(done.stdout.split())
