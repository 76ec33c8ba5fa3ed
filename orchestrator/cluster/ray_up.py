"""A sweep on machines that Ray's cluster launcher starts: a cloud's, or one's own by ssh."""

import shlex
from pathlib import Path
from typing import Any

from orchestrator.cluster.job import SCRIPT_FILE, Job
from orchestrator.cluster.ray_job import TOKEN_FILE, WITH_TOKEN
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.cluster.submission import Submission
from orchestrator.resources.classes import OBJECT_STORE_BYTES
from orchestrator.spec.file import dump_yaml
from tinytl.errors import ConfigError

FILE = "cluster.yaml"
_PORT = 6379


def on_machines(job: Job, settings: ClusterSettings, folder: Path) -> Submission:
    """Returns the submission that starts a cluster and the sweep on it.

    Args:
        job: The sweep.
        settings: The cluster's.
        folder: Where the submission's files will be; the launcher copies them to the nodes.

    Raises:
        ConfigError: If there is no token, or there are more or fewer machines than nodes.
    """
    _check(settings)
    remote = f"~/{job.label}"
    run = f"sh {remote}/{SCRIPT_FILE} 127.0.0.1:{_PORT} {settings.node.count}"
    return Submission(
        files={**job.files(), FILE: dump_yaml(_cluster(job, settings, folder, remote))},
        commands=[
            ["ray", "up", "--yes", FILE],
            ["ray", "exec", "--tmux", FILE, _in_shell(settings, run)],
        ],
        follow=f"follow it with `ray attach --tmux {folder / FILE}`; give the machines back with "
        f"`ray down {folder / FILE}`",
    )


def _check(settings: ClusterSettings) -> None:
    problems = []
    provider, count = settings.ray_up.provider, settings.node.count
    if settings.ray_up.own_machines and len(provider["worker_ips"]) != count - 1:
        problems.append(
            "ray_up.provider.worker_ips: must name node.count - 1 machines besides the head, "
            f"{count - 1}, but got {provider['worker_ips']!r}; correct one of the two"
        )
    if not TOKEN_FILE.expanduser().exists():
        problems.append(
            f"--ray-up: there is no token in {TOKEN_FILE} that the machines could ask for; make "
            "one with `ray get-auth-token --generate`"
        )
    if problems:
        raise ConfigError(problems)


def _cluster(job: Job, settings: ClusterSettings, folder: Path, remote: str) -> dict[str, Any]:
    launcher, node = settings.ray_up, settings.node
    size = [f"--num-cpus={node.cpus}", f"--num-gpus={node.gpus}"]
    size.append(f"--object-store-memory={OBJECT_STORE_BYTES}")
    head = ["--head", f"--port={_PORT}", "--autoscaling-config=~/ray_bootstrap_config.yaml"]
    head.append("--dashboard-host=127.0.0.1")
    key = launcher.ssh_private_key
    cluster: dict[str, Any] = {
        "cluster_name": job.label,
        "provider": launcher.provider,
        "auth": {"ssh_user": launcher.ssh_user} | ({"ssh_private_key": key} if key else {}),
        "file_mounts": {
            str(TOKEN_FILE): str(TOKEN_FILE),
            remote: str(folder.absolute()),
        },
        "initialization_commands": launcher.prepare,
        "head_start_ray_commands": _start(settings, [*head, *size]),
        "worker_start_ray_commands": _start(settings, [f"--address=$RAY_HEAD_IP:{_PORT}", *size]),
    }
    if settings.image is not None:
        cluster["docker"] = {
            "image": settings.image,
            "container_name": job.label,
            "run_options": [f"--volume={settings.storage}:{settings.storage}"],
        }
    return cluster if launcher.own_machines else cluster | _rented(settings)


def _rented(settings: ClusterSettings) -> dict[str, Any]:
    node, workers = settings.node, settings.node.count - 1
    machine = {
        "node_config": settings.ray_up.machine,
        "resources": {"CPU": node.cpus, "GPU": node.gpus},
    }
    return {
        "max_workers": workers,
        "head_node_type": "head",
        "available_node_types": {
            "head": machine,
            "worker": {"min_workers": workers, "max_workers": workers, **machine},
        },
    }


def _start(settings: ClusterSettings, options: list[str]) -> list[str]:
    return ["ray stop", _in_shell(settings, "ray start " + " ".join(options))]


def _in_shell(settings: ClusterSettings, command: str) -> str:
    """Returns the command in the environment of a node: set up, with its cache and the token."""
    variables = {"TINYTL_CACHE": settings.cache, **WITH_TOKEN}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return " && ".join([*settings.setup, *exports, command])
