"""A sweep as a batch job of Slurm, which starts a Ray cluster on its nodes."""

import shlex
from importlib import resources
from string import Template

from orchestrator.cluster.job import SCRIPT_FILE, Job
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.cluster.submission import Submission
from orchestrator.record import SWEEP_FILE
from orchestrator.resources.classes import OBJECT_STORE_BYTES

FILE = "job.sh"
_FOR_TRIALS = 0.9  # of a node's memory; the rest is for Ray itself and for the sweep


def on_slurm(job: Job, settings: ClusterSettings) -> Submission:
    """Returns the submission to Slurm."""
    return Submission(
        files={FILE: _script(job, settings)},
        commands=[["sbatch", FILE]],
        follow="follow it with `squeue --me` and the slurm-*.out beside its script; a sweep that "
        "was cut off goes on when it is submitted again",
    )


def _script(job: Job, settings: ClusterSettings) -> str:
    node, files = settings.node, job.files()
    template = Template((resources.files(__package__) / "slurm.sh").read_text(encoding="utf-8"))
    return template.substitute(
        options="\n".join(f"#SBATCH --{option}" for option in _options(job, settings)),
        setup="\n".join(settings.setup),
        cache=shlex.quote(settings.cache),
        interface=shlex.quote(settings.slurm.interface or ""),
        cpus=node.cpus,
        gpus=node.gpus,
        memory_bytes=int(node.memory_bytes * _FOR_TRIALS),
        object_store_bytes=OBJECT_STORE_BYTES,
        sweep_file=SWEEP_FILE,
        sweep=files[SWEEP_FILE],
        script_file=SCRIPT_FILE,
        script=files[SCRIPT_FILE],
    )


def _options(job: Job, settings: ClusterSettings) -> list[str]:
    node, own = settings.node, settings.slurm
    options = [
        f"job-name={job.label}",
        f"nodes={node.count}",
        "ntasks-per-node=1",
        f"cpus-per-task={node.cpus}",
        f"mem={node.memory_bytes // 2**20}M",
        f"time={own.time}",
        "requeue",
    ]
    if node.gpus:
        options.append(f"gpus-per-node={node.gpus}")
    if own.partition is not None:
        options.append(f"partition={own.partition}")
    if own.account is not None:
        options.append(f"account={own.account}")
    return options
