"""A sweep on a cluster of two nodes, whose token is asked for and whose storage is checked."""

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.systems.faults.cluster import Cluster, cluster, wait_for
from orchestrator.cluster.node import NodeNeeds, node_problems, note_in, together
from orchestrator.record import Told, read_events
from orchestrator.resources.classes import library_digest
from orchestrator.spec import SweepSpec, load_spec


def needs(spec: SweepSpec, directory: Path, note: str, **changed: object) -> NodeNeeds:
    known = {"spec": spec, "data": None, "weights": None}
    digest = library_digest()
    return NodeNeeds(
        **{**known, "directory": directory, "note": note, "library": digest, **changed}
    )


def test_a_node_with_everything_has_no_problems(tiny: list[str], tmp_path: Path) -> None:
    with note_in(tmp_path) as note:
        assert node_problems(needs(load_spec("digits", tiny), tmp_path, note)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_node_tells_all_that_it_lacks(tiny: list[str], tmp_path: Path) -> None:
    photos = load_spec("digits", [*tiny, "datasets=[photos]"], data=tmp_path / "none")
    with note_in(tmp_path) as note:
        lacking = needs(photos, tmp_path / "other", note, library="old",
                        data=tmp_path / "none")  # fmt: skip
        storage, version, data = node_problems(lacking)
    assert f"{tmp_path / 'other'} is not the one that the sweep writes" in storage
    assert "another version" in version
    assert f"the data root {tmp_path / 'none'} does not exist" in data


def test_a_note_of_an_earlier_sweep_is_none(tiny: list[str], tmp_path: Path) -> None:
    with note_in(tmp_path):
        (problem,) = node_problems(needs(load_spec("digits", tiny), tmp_path, "another"))
    assert "is not the one" in problem


def test_each_problem_is_told_once_with_its_nodes() -> None:
    found = together([("a", ["x", "y"]), ("b", []), ("c", ["y"])])
    assert found == ["on a: x", "on a, c: y"]


@dataclass(frozen=True)
class TwoNodes:
    """A cluster; what is below `hidden` its second node does not see.

    Attributes:
        running: The cluster.
        hidden: A folder that is the second node's own.
        overrides: Of the sweep.
    """

    running: Cluster
    hidden: Path
    overrides: list[str]

    def sweep(self, out: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli", "sweep", "digits", *self.overrides]
        command += ["--address", self.running.address, "--out", str(out), *options]
        return subprocess.run(
            command, env={**os.environ, **variables},
            capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip


@pytest.fixture(scope="module")
def two_nodes(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    hidden = tmp_path_factory.mktemp("hidden")
    own_view = ["unshare", "--mount", "sh", "-c"]
    own_view.append(f'mount -t tmpfs -o size=16m tmpfs "{hidden}" && exec "$@"')
    if subprocess.run([*own_view, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a user who may give a process a view of its own on files")
    with cluster(tmp_path_factory.mktemp("ray"), (), [*own_view, "sh"]) as running:
        yield TwoNodes(running, hidden, tiny)


@pytest.mark.integration
@pytest.mark.cluster
def test_a_sweep_runs_on_all_nodes(two_nodes: TwoNodes, tmp_path: Path) -> None:
    done = two_nodes.sweep(tmp_path / "run", "--nodes", "2", **two_nodes.running.variables)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [event for event, _ in read_events(tmp_path / "run") if isinstance(event, Told)]
    assert Counter(event.state for event in told) == {"complete": 2}
    assert not list((tmp_path / "run").glob("node_check*"))


@pytest.mark.integration
@pytest.mark.cluster
def test_storage_that_a_node_does_not_see_is_told_before_the_first_trial(
    two_nodes: TwoNodes,
) -> None:
    out = two_nodes.hidden / "run"
    done = two_nodes.sweep(out, "--nodes", "2", **two_nodes.running.variables)
    assert done.returncode == 2
    assert f"error: on node-1: the sweep's directory {out} is not the one" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(read_events(out)) == []


@pytest.mark.integration
@pytest.mark.cluster
def test_who_does_not_know_the_token_is_not_let_in(two_nodes: TwoNodes, tmp_path: Path) -> None:
    done = two_nodes.sweep(tmp_path / "run", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="wrong")
    assert done.returncode == 2
    assert f"no Ray cluster lets us in at {two_nodes.running.address}" in done.stderr
    assert "Traceback" not in done.stderr


LOCAL = """
import ray, sys
from pathlib import Path
from orchestrator.backends.nodes import connect
connect(None, Path(sys.argv[1]))
print(ray.get_runtime_context().gcs_address, file=open(sys.argv[2], "w"))
sys.stdin.read()
"""


@pytest.mark.integration
@pytest.mark.cluster
def test_without_an_address_ray_listens_on_loopback_only(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found, temporary = tmp_path / "address", tmp_path_factory.mktemp("ray")
    command = [sys.executable, "-c", LOCAL, str(temporary), str(found)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        while process.poll() is None and not (found.exists() and found.read_text()):
            time.sleep(0.2)
        host, _, port = found.read_text().strip().partition(":")
        assert host == "127.0.0.1"
        wait_for(f"{host}:{port}")
        addresses = subprocess.run(["hostname", "--all-ip-addresses"], capture_output=True)
        for address in addresses.stdout.decode().split():
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, int(port)), timeout=5)
        process.communicate()
