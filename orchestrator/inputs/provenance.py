"""What trials depend on besides the sweep file: machine, versions, source, datasets, weights."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import torch

import orchestrator
from orchestrator.inputs.prepare import networks_of
from orchestrator.inputs.site import Site
from orchestrator.record.environment import Environment, Input
from orchestrator.spec import SweepSpec
from tinytl.backbones.weights import find_weights, weights_info
from tinytl.data import Splits, dataset_digest, dataset_info, locate

DISTRIBUTION = "tinytl-orchestrator"
_PACKAGES = (DISTRIBUTION, "torch", "torchvision", "mlflow")
_GIT_SECONDS = 10.0


def environment_of(directory: Path, site: Site, inputs: tuple[Input, ...]) -> Environment:
    """Returns what this process, which is about to run a sweep, depends on.

    Nothing of it tells who runs it: no variables of the environment, no address of a repository.
    """
    commit, dirty = _checkout(Path(orchestrator.__file__).resolve().parents[1])
    return Environment(
        directory=str(directory.resolve()),
        data=_absolute(site.data),
        weights=_absolute(site.weights),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        device=_device(site.device),
        versions={"python": platform.python_version(), **_versions()},
        commit=commit or _installed_commit(),
        dirty=dirty,
        inputs=inputs,
    )


def inputs_of(
    spec: SweepSpec, datasets: Mapping[str, Splits], data: Path | None, weights: Path | None
) -> tuple[Input, ...]:
    """Returns the datasets and the weights of a sweep, with their digests.

    Args:
        spec: The sweep.
        datasets: Its datasets, as they were loaded.
        data: Root of the datasets.
        weights: Where to look for weights first; all of them are there already.

    Raises:
        TinyTLError: If one of them is not there any more.
    """
    return (*(_dataset(splits, data) for splits in datasets.values()), *_weights(spec, weights))


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _dataset(splits: Splits, data: Path | None) -> Input:
    in_files = dataset_info(splits.name).needs_data
    held_out = 0 if splits.validation is None else len(splits.validation)
    return Input(
        "dataset",
        splits.name,
        dataset_digest(splits),
        str(locate(splits.name, data).resolve()) if in_files else "",
        {
            "classes": len(splits.classes),
            "train": len(splits.train),
            "validation": held_out,
            "test": len(splits.test),
        },
        {"dataset": splits.name},
    )


def _weights(spec: SweepSpec, directory: Path | None) -> Iterator[Input]:
    for backbone, weights, norm in networks_of(spec):
        if weights == "random":
            continue
        path = find_weights(weights, backbone, directory, norm=norm)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        urls = weights_info(weights, backbone, norm).urls
        yield Input(
            "weights",
            path.name,
            digest,
            urls[0] if urls else str(path.resolve()),
            {"sha256": digest, "bytes": path.stat().st_size},
            {"backbone": backbone, "weights": weights, "norm": norm},
        )


def _device(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the source itself, run without being installed
            continue
    return found


def _checkout(folder: Path) -> tuple[str | None, bool]:
    """Returns the commit of a git checkout, and whether files of it differ from that.

    A folder inside of somebody else's checkout, such as an environment's packages, has none.
    """
    found = _git(folder, "rev-parse", "--show-toplevel", "HEAD")
    top, _, commit = (found or "").partition("\n")
    if not commit or Path(top).resolve() != folder:
        return None, False
    return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *words: str) -> str | None:
    """Returns what git says, or None where it does not work."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _installed_commit() -> str | None:
    """Returns the commit that the package was installed from, where it was (PEP 610)."""
    try:
        told = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    commit = told.get("vcs_info", {}).get("commit_id")
    return None if commit is None else str(commit)
