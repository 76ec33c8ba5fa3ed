"""What runs on a cluster, however it gets there: a sweep file and a script."""

import re
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.record import SWEEP_FILE
from orchestrator.spec import SweepSpec
from tinytl.errors import ConfigError

SCRIPT_FILE = "run.sh"
_LABEL_LIMIT = 40  # KubeRay's own is 47, and it adds to names


@dataclass(frozen=True)
class Job:
    """A sweep for a cluster.

    Attributes:
        spec: The sweep.
        out: The sweep's directory, as the nodes see it.
        data: Root of the datasets, as the nodes see it.
        weights: Where nodes look for weights first.
    """

    spec: SweepSpec
    out: str
    data: str | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        """Checks the paths.

        Raises:
            ConfigError: If one is not absolute.
        """
        paths = {"--out": self.out, "--data": self.data, "--weights": self.weights}
        problems = [
            f"{option}: must be an absolute path that all nodes see, but got {path!r}; give such a "
            "path (buckets and other addresses must be mounted)"
            for option, path in paths.items()
            if path is not None and not PurePosixPath(path).is_absolute()
        ]
        if problems:
            raise ConfigError(problems)

    @property
    def label(self) -> str:
        """The sweep's name in lower-case letters, digits and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.spec.name.lower())[:_LABEL_LIMIT].strip("-")

    def files(self) -> dict[str, str]:
        """Returns the sweep file and the script that runs it, by name."""
        return {SWEEP_FILE: self.spec.resolved_yaml(), SCRIPT_FILE: self._script()}

    def _script(self) -> str:
        """Returns a script that needs its own folder, Ray's address and the number of nodes."""
        options = ["--out", self.out]
        if self.data is not None:
            options += ["--data", self.data]
        if self.weights is not None:
            options += ["--weights", self.weights]
        record = shlex.quote(f"{self.out}/{SWEEP_FILE}")
        return (
            "#!/bin/sh\n"
            "# Runs the sweep on a running Ray cluster: run.sh [ADDRESS [NODES]].\n"
            "# A sweep that was cut off goes on.\n"
            f'exec tinytl sweep "$(dirname "$0")/{SWEEP_FILE}" \\\n'
            f'  --address "${{1:-auto}}" --nodes "${{2:-1}}" {shlex.join(options)} \\\n'
            f"  $(test -e {record} && echo --resume)\n"
        )
