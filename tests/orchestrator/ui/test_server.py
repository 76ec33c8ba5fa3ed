import http.server
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from orchestrator.record.find import find_sweep
from orchestrator.tracking.mirror import Cursor
from orchestrator.ui.address import Address
from orchestrator.ui.ports import choose_port
from orchestrator.ui.server import is_remote, links, page_link, read_cursor, serve
from tinytl.errors import ConfigError, TinyTLError

COMMAND = "import typer; from orchestrator.commands.ui import ui; typer.run(ui)"
LOOPBACK = "127.0.0.1"


def sweep_in(directory, changed):
    directory.mkdir(parents=True)
    (directory / "sweep.yaml").write_text("name: test\n")
    (directory / "trials.jsonl").touch()
    for file in directory.iterdir():
        os.utime(file, (changed, changed))
    return directory


def test_newest_sweep_is_the_default(tmp_path):
    sweep_in(tmp_path / "old", 1000)
    newest = sweep_in(tmp_path / "new", 3000)
    sweep_in(tmp_path / "middle", 2000)
    (tmp_path / "no-sweep").mkdir()
    assert find_sweep(None, tmp_path) == newest
    assert find_sweep(tmp_path / "old", tmp_path) == tmp_path / "old"


@pytest.mark.parametrize(
    ("directory", "text"), [(None, "tinytl sweep"), ("here", "holds no sweep")]
)
def test_no_sweep_is_one_clear_sentence(tmp_path, directory, text):
    with pytest.raises(ConfigError, match=text):
        find_sweep(directory and tmp_path / directory, tmp_path)


def test_sweep_that_has_logged_nothing_yet(tmp_path):
    sweep_in(tmp_path / "a", 1000)
    with pytest.raises(ConfigError, match="wait until its first trial"):
        read_cursor(tmp_path / "a")


def test_links_open_the_mode_that_shows_runs():
    cursor = Cursor("s", "https://server/prefix/", 0, "7", {"a": "r1", "b": "r2"})
    assert is_remote(cursor)
    assert links(cursor, "https://server/prefix/") == [
        (what, f"https://server/prefix/#/experiments/7/runs{page}?workflowType=machine_learning")
        for what, page in [
            ("all trials", ""),
            ("a, table", "/r1"),
            ("a, front", "/r1/artifacts/front.html"),
            ("b, table", "/r2"),
            ("b, front", "/r2/artifacts/front.html"),
        ]
    ]


def test_page_is_shown_beside_the_rest():
    cursor = Cursor("s", None, 0, "7", {})
    page = page_link(cursor, "http://here:1")
    assert page == ("Pareto fronts", "http://here:1/tinytl/pareto?experiment=7")


def test_command_loads_nothing_heavy_before_it_runs():
    heavy = {"mlflow", "plotly", "torch"}
    check = f"import sys, orchestrator.commands.ui; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.integration
def test_server_that_cannot_start_says_why(tmp_path, free):
    cursor = Cursor("s", "nonsense://store", 0, "1", {})
    with (
        pytest.raises(TinyTLError, match=r"(?s)the MLflow server ended with code .*nonsense"),
        serve(tmp_path, cursor, Address(LOOPBACK, free)),
    ):
        pass


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()


@pytest.mark.integration
def test_another_server_that_took_the_port_meanwhile_is_not_taken_for_ours(tmp_path):
    cursor = Cursor("s", f"sqlite:///{tmp_path}/mlflow.db", 0, "1", {})
    with http.server.HTTPServer((LOOPBACK, 0), Healthy) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with (
            pytest.raises(TinyTLError, match=r"(?s)the MLflow server ended with code .*in use"),
            serve(tmp_path, cursor, Address(LOOPBACK, other.server_port)),
        ):
            pass
        other.shutdown()


def post(url, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode(errors="replace")


def processes_of(group):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(process.name)
    return found


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.integration
def test_ui_shows_a_running_sweep_and_leaves_nothing_behind(tmp_path, free, tracked):
    shutil.move(tracked(tmp_path / "made", [0]), tmp_path / "moved")
    port = free
    ui = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path / "moved"), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        found = {}
        for line in ui.stdout:
            if "Ctrl-C" in line:
                break
            if "http" in line:
                what, _, link = line.strip().partition(": ")
                found[what] = link
        pages = ["Pareto fronts", "all trials", "digits, table", "digits, front"]
        assert list(found) == pages
        url = f"http://{LOOPBACK}:{port}"
        assert found["Pareto fronts"] == f"{url}/tinytl/pareto?experiment=1"
        assert all(found[page].startswith(f"{url}/#/experiments/1/") for page in pages[1:])
        assert "<html" in get(url)
        assert "<html" in get(found["Pareto fronts"])
        with sqlite3.connect(tmp_path / "moved" / "mlflow.db") as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)

        run = found["digits, table"].split("/")[-1].partition("?")[0]
        front = get(f"{url}/get-artifact?path=front.html&run_uuid={run}")
        assert "1 complete trial, 1 on the front" in front

        tracked(tmp_path / "moved", [1])
        experiment = found["all trials"].split("/")[-2]
        answer = post(f"{url}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]})
        names = sorted(run["info"]["run_name"] for run in answer["runs"])
        assert names == ["digits", "digits-0", "digits-1"]
        front = get(f"{url}/get-artifact?path=front.html&run_uuid={run}")
        assert "2 complete trials, 1 on the front" in front

        groups = children_of(ui.pid)
        assert groups
        assert processes_of(groups[0])
        os.kill(ui.pid, signal.SIGTERM)
        rest, _ = ui.communicate(timeout=30)
        assert "The server is stopped." in rest
        assert ui.returncode == 0
        assert not [process for group in groups for process in processes_of(group)]
        assert choose_port(LOOPBACK, port) == port
    finally:
        if ui.poll() is None:
            ui.terminate()
            ui.communicate(timeout=30)


@pytest.mark.integration
def test_stop_ends_what_ignores_a_polite_request(tmp_path, monkeypatch):
    from orchestrator.ui import server

    monkeypatch.setattr(server, "_STOP_SECONDS", 0.3)
    stubborn = (
        "import signal, time, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    )
    child = f"{stubborn} print(1, flush=True); time.sleep(600)"
    parent = f"{stubborn} subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True
    )
    process.stdout.readline()
    with (tmp_path / "log").open("wb") as log:
        began = time.monotonic()
        server.Server(process, log, "http://nowhere").stop()
    assert time.monotonic() - began < 5
    assert not processes_of(process.pid)
    process.stdout.close()
