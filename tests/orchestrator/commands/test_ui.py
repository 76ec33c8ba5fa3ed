import re
import sys
from io import StringIO

import pytest
from mlflow import MlflowClient
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands import ui as command
from orchestrator.tracking.mirror import Cursor
from orchestrator.ui.auth import prepare
from orchestrator.ui.experiments import choose_experiment
from tinytl.errors import ConfigError, TinyTLError

SERVER = "https://server/prefix"


@pytest.fixture
def remote(tmp_path):
    """A sweep that is tracked on a server of its own."""
    (tmp_path / "sweep.yaml").write_text("name: test\n")
    Cursor("s", SERVER, 0, "7", {"a": "r1"}).write(tmp_path)
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    pages = []
    monkeypatch.setattr(command.webbrowser, "open", lambda url: pages.append(url) or True)
    return pages


def run(*words):
    return CliRunner().invoke(app, ["ui", *map(str, words)])


def test_server_elsewhere_has_the_links_that_every_server_has(remote, opened):
    done = run(remote)
    assert done.exit_code == 0, done.output
    assert f"all trials: {SERVER}/#/experiments/7/runs?workflowType=machine_learning" in done.output
    assert "tinytl/pareto" not in done.output
    assert not opened  # nobody sits at this terminal


def test_first_link_is_opened_if_asked_for(remote, opened):
    assert run(remote, "--open").exit_code == 0
    assert opened == [f"{SERVER}/#/experiments/7/runs?workflowType=machine_learning"]


@pytest.mark.parametrize("option", [["--auth"], ["--allowed-hosts", "lab"]])
def test_server_elsewhere_is_not_ours_to_guard(remote, option):
    done = run(remote, *option)
    assert isinstance(done.exception, ConfigError)
    assert f"tracked on {SERVER}; leave them out" in str(done.exception)


def test_others_are_not_let_in_by_accident(remote):
    done = run(remote, "--host", "0.0.0.0")
    assert isinstance(done.exception, ConfigError)
    assert "needs --allowed-hosts" in str(done.exception)


@pytest.mark.parametrize(
    ("host", "auth", "said", "warning"),
    [
        ("127.0.0.1", False, False, None),
        ("127.0.0.1", True, True, None),
        ("0.0.0.0", True, True, "passwords are sent unencrypted"),
        ("0.0.0.0", False, False, "everybody who reaches this machine can read and change"),
    ],
)
def test_who_gets_in_is_said_and_no_password(tmp_path, host, auth, said, warning):
    prepare(tmp_path)
    console = Console(file=StringIO())
    command._say_who_gets_in(console, tmp_path, host, auth)
    text = console.file.getvalue()
    assert (str(tmp_path / "auth.ini") in text) is said
    assert ("warning" in text) is (warning is not None)
    assert warning is None or warning in text
    password = re.search("admin_password = (.*)", (tmp_path / "auth.ini").read_text())[1]
    assert password not in text


@pytest.mark.parametrize(
    ("terminal", "display", "expected"),
    [(True, ":0", True), (True, "", False), (False, ":0", False)],
)
def test_who_sits_at_a_screen(monkeypatch, terminal, display, expected):
    monkeypatch.setattr(command.sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert command._has_screen() is expected


@pytest.mark.integration
def test_another_experiment_is_chosen_by_its_name(tmp_path):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=store)
    ours, other = client.create_experiment("ours"), client.create_experiment("o'ther [b]")
    cursor = Cursor("s", store, 0, ours, {"digits": "r1"})
    assert choose_experiment(cursor, store, "ours") == cursor
    chosen = choose_experiment(cursor, store, "o'ther [b]")
    assert (chosen.experiment_id, chosen.studies) == (other, {})
    with pytest.raises(ConfigError) as error:
        choose_experiment(cursor, store, "none")
    assert "but got 'none'; there are: o'ther [b], ours, Default" in str(error.value)
    with pytest.raises(TinyTLError, match=r"cannot read the experiments of http://127\.0\.0\.1:9"):
        choose_experiment(cursor, "http://127.0.0.1:9", "ours")
