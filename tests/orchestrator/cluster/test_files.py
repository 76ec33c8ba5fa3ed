"""What is written for Ray's launcher, KubeRay and Slurm holds to their published forms."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.cluster import ClusterSettings, Job
from orchestrator.cluster.kuberay import on_kuberay
from orchestrator.cluster.ray_job import on_cluster
from orchestrator.cluster.ray_up import on_machines
from orchestrator.cluster.slurm import on_slurm
from tinytl.errors import ConfigError

Settings = Callable[..., ClusterSettings]
HERE = Path(__file__).parent
MACHINES = {
    "own": {},
    "own, with a key": {"ssh_private_key": "~/.ssh/cluster", "prepare": ["mount /shared"]},
    "aws": {
        "provider": {"type": "aws", "region": "us-west-2"},
        "machine": {"InstanceType": "m5.2xlarge"},
    },
    "gcp": {
        "provider": {"type": "gcp", "region": "us-west1", "project_id": "mine"},
        "machine": {"machineType": "n1-standard-8"},
    },
}


@pytest.fixture(autouse=True)
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with Ray's token in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("secret")
    return file


def ray_schema() -> dict[str, Any]:
    found = find_spec("ray")  # without importing it
    assert found is not None and found.origin is not None
    file = Path(found.origin).parent / "autoscaler" / "ray-schema.json"
    schema: dict[str, Any] = json.loads(file.read_text())
    return schema


@pytest.mark.parametrize("image", [None, "registry.example/tinytl:1"])
@pytest.mark.parametrize("machines", MACHINES)
def test_the_launchers_file_holds_to_rays_schema(
    machines: str, image: str | None, job: Job, settings: Settings, tmp_path: Path
) -> None:
    known = settings(image=image, ray_up=MACHINES[machines], setup=["source /shared/env"])
    made = on_machines(job, known, tmp_path)
    cluster = yaml.safe_load(made.files["cluster.yaml"])
    jsonschema.validate(cluster, ray_schema())
    validate_config(prepare_config(cluster))  # with what the launcher itself fills in
    head, worker = (cluster[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker"))
    for command in (head, worker):
        assert command.startswith("source /shared/env && export TINYTL_CACHE=/tmp/tinytl && ")
        assert "export RAY_AUTH_MODE=token && ray start " in command
    assert "--dashboard-host=127.0.0.1" in head
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert cluster["file_mounts"]["~/digits-of-2"] == str(tmp_path)
    assert ("docker" in cluster) == (image is not None)
    up, execute = made.commands
    assert up == ["ray", "up", "--yes", "cluster.yaml"]
    assert execute[-1].endswith("ray start --head") is False
    assert execute[-1].endswith("sh ~/digits-of-2/run.sh 127.0.0.1:6379 2")
    assert set(job.files()) < set(made.files)


def test_rented_machines_are_as_many_as_nodes(job: Job, settings: Settings, tmp_path: Path) -> None:
    known = settings(ray_up=MACHINES["aws"], node={"count": 5, "gpus": 1})
    cluster = yaml.safe_load(on_machines(job, known, tmp_path).files["cluster.yaml"])
    kinds = cluster["available_node_types"]
    assert kinds["worker"]["min_workers"] == kinds["worker"]["max_workers"] == 4
    assert cluster["max_workers"] == 4
    assert kinds["head"]["resources"] == {"CPU": 8, "GPU": 1}


def test_the_launcher_wants_a_token_and_as_many_machines_as_nodes(
    job: Job, settings: Settings, token: Path, tmp_path: Path
) -> None:
    token.unlink()
    with pytest.raises(ConfigError) as error:
        on_machines(job, settings(node={"count": 4}), tmp_path)
    machines, missing = error.value.problems
    assert "3, but got ['10.0.0.2']" in machines
    assert "ray get-auth-token --generate" in missing


def kubernetes_objects(job: Job, known: ClusterSettings) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(on_kuberay(job, known).files["rayjob.yaml"]))


@pytest.mark.parametrize("node", [{"count": 1}, {"count": 3}, {"count": 2, "gpus": 2}])
def test_the_rayjob_holds_to_kuberays_fields(
    node: dict[str, int], job: Job, settings: Settings
) -> None:
    config, ray_job = kubernetes_objects(
        job, settings(image="registry.example/tinytl:1", node=node)
    )
    schema = yaml.safe_load((HERE / "rayjob_schema.yaml").read_text())
    jsonschema.validate(ray_job, schema)
    assert config["data"] == job.files()
    cluster = ray_job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert [group["replicas"] for group in cluster["workerGroupSpecs"]] == (
        [node["count"] - 1] if node["count"] > 1 else []
    )
    for pod in pods(cluster):
        (container,) = pod["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["storage"] == "/shared"
        assert {volume["name"] for volume in pod["volumes"]} == set(mounted)
        limits = container["resources"]["limits"]
        assert limits["memory"] == str(32 * 10**9)
        assert limits.get("nvidia.com/gpu") == (str(node["gpus"]) if "gpus" in node else None)


def pods(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]["spec"]


def test_the_schema_refuses_what_kuberay_does_not_know(job: Job, settings: Settings) -> None:
    _, ray_job = kubernetes_objects(job, settings(image="registry.example/tinytl:1"))
    schema = yaml.safe_load((HERE / "rayjob_schema.yaml").read_text())
    ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0] |= {
        "memory": "1Gi"
    }
    with pytest.raises(jsonschema.ValidationError, match="memory"):
        jsonschema.validate(ray_job, schema)


def test_kuberay_wants_an_image(job: Job, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="image: required with --kuberay"):
        on_kuberay(job, settings())


def test_the_batch_script_is_a_script_and_asks_for_the_nodes(job: Job, settings: Settings) -> None:
    known = settings(
        node={"count": 3, "cpus": 4, "gpus": 1, "memory_bytes": "16GiB"},
        slurm={"partition": "gpu", "time": "2-00:00:00"},
        setup=["source '/shared/my env/bin/activate'"],
    )
    made = on_slurm(job, known)
    (text,) = made.files.values()
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    head = text.split("set -e", 1)[0]
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", head, flags=re.MULTILINE))
    assert options == {
        "job-name": "digits-of-2", "nodes": "3", "ntasks-per-node": "1", "cpus-per-task": "4",
        "mem": "16384M", "time": "2-00:00:00", "requeue": "", "gpus-per-node": "1",
        "partition": "gpu",
    }  # fmt: skip
    assert all(line.startswith("#") for line in head.splitlines() if line)
    assert "\nsource '/shared/my env/bin/activate'\n" in text
    assert made.commands == [["sbatch", "job.sh"]]


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://head:10001"])
def test_a_job_is_sent_with_its_folder(address: str, job: Job) -> None:
    made = on_cluster(job, address)
    assert shlex.join(made.commands[0]) == (
        f"ray job submit --address {address} --working-dir . --no-wait -- sh run.sh"
    )
    assert made.environment == {"RAY_AUTH_MODE": "token"}


@pytest.mark.parametrize("address", ["head:8265", "ftp://head", "http://", ""])
def test_other_addresses_are_refused(address: str, job: Job) -> None:
    with pytest.raises(ConfigError, match="--cluster: must be http://HOST:8265"):
        on_cluster(job, address)
