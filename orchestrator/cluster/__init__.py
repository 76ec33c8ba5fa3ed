"""Sweeps on other machines: what is written for Ray's launcher, KubeRay and Slurm, and submitted.

Each way is one function from a job and the cluster's settings to a `Submission`: files and the
commands that use them. All of them end in the same script, which runs `tinytl sweep` there.
"""

from orchestrator.cluster.job import Job
from orchestrator.cluster.settings import ClusterSettings, default_settings_text, load_settings
from orchestrator.cluster.submission import Submission

__all__ = [
    "ClusterSettings",
    "Job",
    "Submission",
    "default_settings_text",
    "load_settings",
]
