"""The batch script run for real, on nodes that are processes of this machine."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cluster import ClusterSettings, Job
from orchestrator.cluster.slurm import on_slurm
from orchestrator.record import Told, read_events
from orchestrator.spec import load_spec

# what Slurm's own commands do, as far as the script asks for it
SCONTROL = 'echo node1; [ "$SLURM_JOB_NUM_NODES" -eq 1 ] || echo node2'
SRUN = 'echo "srun $*" >>"$STEPS"; while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"'


def commands(folder: Path, **scripts: str) -> str:
    """The search path with these commands in front."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"


def run_script(text: str, folder: Path, nodes: int, path: str) -> subprocess.CompletedProcess[str]:
    (folder / "job.sh").write_text(text)
    slurm = {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_JOB_ID": str(os.getpid())}
    variables = {**os.environ, **slurm, "SLURM_JOB_NODELIST": "node[1-2]", "PATH": path}
    variables["STEPS"] = str(folder / "steps")
    return subprocess.run(
        ["bash", folder / "job.sh"],
        env=variables, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip


# a head that only listens, at the port and address that it is given
RAY = r"""
echo "$*; token ${#RAY_AUTH_TOKEN}" >>"$STEPS"
for word in "$@"; do
    case $word in
    --port=*) port=${word#*=} ;;
    --node-ip-address=*) address=${word#*=} ;;
    esac
done
case " $* " in
*" --head "*) exec timeout 20 python3 -c "
import socket, sys
with socket.create_server(('$address', $port)) as server:
    while True: server.accept()" ;;
esac
"""
# waits for the nodes, as the sweep does
TINYTL = r"""
until [ "$(grep -c '^start -' "$STEPS")" -ge "$6" ]; do sleep 0.1; done
echo "tinytl $*; mode $RAY_AUTH_MODE" >>"$STEPS"
"""


@pytest.mark.parametrize("nodes", [1, 2])
def test_each_node_gets_its_part(
    nodes: int, job: Job, settings: Callable[..., ClusterSettings], tmp_path: Path
) -> None:
    known = settings(node={"count": nodes}, slurm={"interface": "lo"}, cache=str(tmp_path))
    (text,) = on_slurm(job, known).files.values()
    path = commands(tmp_path / "bin", scontrol=SCONTROL, srun=SRUN, ray=RAY, tinytl=TINYTL)
    done = run_script(text, tmp_path, nodes, path)
    assert done.returncode == 0, done.stderr
    steps = (tmp_path / "steps").read_text().splitlines()
    (head,) = [step for step in steps if step.startswith("start --head")]
    assert "--node-ip-address=127.0.0.1 " in head
    assert head.endswith("token 64")
    port = 20000 + os.getpid() % 12000
    (sweep,) = [step for step in steps if step.startswith("tinytl")]
    assert f"--address 127.0.0.1:{port} --nodes {nodes} " in sweep
    assert sweep.endswith("mode token")
    joined = [step for step in steps if step.startswith(f"start --address=127.0.0.1:{port}")]
    assert len(joined) == nodes - 1
    assert sum(step.startswith("srun") for step in steps) == nodes


def test_a_node_without_an_address_is_told(
    job: Job, settings: Callable[..., ClusterSettings], tmp_path: Path
) -> None:
    (text,) = on_slurm(job, settings(slurm={"interface": "ib9"})).files.values()
    path = commands(tmp_path / "bin", scontrol=SCONTROL, srun=SRUN, ray=RAY, tinytl=TINYTL)
    done = run_script(text, tmp_path, 2, path)
    assert done.returncode == 1
    assert "set slurm.interface" in done.stderr


@pytest.mark.integration
@pytest.mark.cluster
def test_a_sweep_runs_on_two_nodes(
    tiny: list[str], settings: Callable[..., ClusterSettings], tmp_path: Path
) -> None:
    job = Job(load_spec("digits", tiny), str(tmp_path / "run"))
    known = settings(
        node={"count": 2, "cpus": 1, "memory_bytes": "3GB"},
        slurm={"interface": "lo"},
        cache=os.environ["TINYTL_CACHE"],
    )
    (text,) = on_slurm(job, known).files.values()
    path = commands(tmp_path / "bin", scontrol=SCONTROL, srun=SRUN)
    done = run_script(text, tmp_path, 2, path)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [event for event, _ in read_events(tmp_path / "run") if isinstance(event, Told)]
    assert Counter(event.state for event in told) == {"complete": 2}
    again = run_script(text, tmp_path, 2, path)  # as after a requeue
    assert again.returncode == 0, again.stdout + again.stderr
    assert [event for event, _ in read_events(tmp_path / "run") if isinstance(event, Told)] == told
