"""A sweep as a RayJob: KubeRay starts a cluster for it and removes it afterwards."""

import shlex
from importlib.metadata import version
from typing import Any

from orchestrator.cluster.job import SCRIPT_FILE, Job
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.cluster.submission import Submission
from orchestrator.resources.classes import OBJECT_STORE_BYTES
from orchestrator.spec.file import dump_yaml
from tinytl.errors import ConfigError

FILE = "rayjob.yaml"
_JOB_FOLDER = "/etc/tinytl"
_RETRIES = 3  # of the whole cluster, where its head is lost; the sweep goes on
_SECONDS_UNTIL_REMOVED = 60


def on_kuberay(job: Job, settings: ClusterSettings) -> Submission:
    """Returns the submission to a Kubernetes cluster with KubeRay's operator.

    Raises:
        ConfigError: If there is no image.
    """
    if settings.image is None:
        raise ConfigError(
            "image: required with --kuberay, but missing; name a container image with this package "
            "in the file after --settings"
        )
    space = ["--namespace", settings.kuberay.namespace]
    kubectl = f"kubectl {shlex.join(space)}"
    return Submission(
        files={FILE: dump_yaml(_config_map(job)) + "---\n" + dump_yaml(_ray_job(job, settings))},
        commands=[["kubectl", "apply", *space, "--filename", FILE]],
        follow=f"follow it with `{kubectl} logs --follow job/{job.label}`; remove it with "
        f"`{kubectl} delete rayjob/{job.label}`",
    )


def _config_map(job: Job) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": job.label},
        "data": job.files(),
    }


def _ray_job(job: Job, settings: ClusterSettings) -> dict[str, Any]:
    workers = settings.node.count - 1
    group = {
        "groupName": "workers",
        "replicas": workers,
        "minReplicas": workers,
        "maxReplicas": workers,
        "rayStartParams": _start_parameters(),
        "template": _pod(job, settings, "ray-worker"),
    }
    # the operator asks the head for the job's state, so its dashboard listens in the pod network
    head = {
        "serviceType": "ClusterIP",
        "rayStartParams": {**_start_parameters(), "dashboard-host": "0.0.0.0"},  # noqa: S104
        "template": _pod(job, settings, "ray-head"),
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": job.label},
        "spec": {
            "entrypoint": f"sh {_JOB_FOLDER}/{SCRIPT_FILE} auto {settings.node.count}",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": _SECONDS_UNTIL_REMOVED,
            "backoffLimit": _RETRIES,
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "authOptions": {"mode": "token"},
                "headGroupSpec": head,
                "workerGroupSpecs": [group] if workers else [],
            },
        },
    }


def _start_parameters() -> dict[str, str]:
    return {"object-store-memory": str(OBJECT_STORE_BYTES)}


def _pod(job: Job, settings: ClusterSettings, container: str) -> dict[str, Any]:
    size: dict[str, Any] = {
        "cpu": str(settings.node.cpus),
        "memory": str(settings.node.memory_bytes),
    }
    if settings.node.gpus:
        size["nvidia.com/gpu"] = str(settings.node.gpus)
    claim = {"claimName": settings.kuberay.storage_claim}
    return {
        "spec": {
            "containers": [
                {
                    "name": container,
                    "image": settings.image,
                    "env": [{"name": "TINYTL_CACHE", "value": settings.cache}],
                    "resources": {"requests": size, "limits": size},
                    "volumeMounts": [
                        {"name": "storage", "mountPath": settings.storage},
                        {"name": "cache", "mountPath": settings.cache},
                        {"name": "job", "mountPath": _JOB_FOLDER, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "storage", "persistentVolumeClaim": claim},
                {"name": "cache", "emptyDir": {}},
                {"name": "job", "configMap": {"name": job.label}},
            ],
        }
    }
