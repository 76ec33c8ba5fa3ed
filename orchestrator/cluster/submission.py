"""Files for a cluster and the commands that use them: written, shown, run."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from tinytl.errors import ConfigError
from tinytl.storage import write_atomically


@dataclass(frozen=True)
class Submission:
    """What is done to run a job on a cluster.

    Attributes:
        files: Texts by the name of their file.
        commands: Run one after the other, in the folder of the files.
        follow: What to do next, for people.
        environment: Variables of the commands.
    """

    files: Mapping[str, str]
    commands: Sequence[Sequence[str]]
    follow: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, folder: Path, console: Console, *, dry_run: bool) -> None:
        """Writes the files and runs the commands.

        Args:
            folder: Where to write; files of the same names are replaced.
            console: Shows what is written and run.
            dry_run: Only write.

        Raises:
            ConfigError: If a command is missing or fails.
            StorageError: If a file cannot be written.
        """
        show = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        for name, text in self.files.items():
            write_atomically(folder / name, text)
            show(f"wrote {folder / name}")
        for command in self.commands:
            show(f"{'not run' if dry_run else 'running'} in {folder}: {shlex.join(command)}")
            if not dry_run:
                _run(command, folder, self.environment)
        if not dry_run:
            show(self.follow)


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    if shutil.which(command[0]) is None:
        raise ConfigError(
            f"there is no command {command[0]} on this machine; submit from one that has it, or "
            "only write the files with --dry-run"
        )
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=variables, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ConfigError(
            f"`{shlex.join(command)}` ended with exit code {done.returncode}; mend what it says "
            "above and submit again"
        )
