"""Where sweeps are."""

from pathlib import Path

from orchestrator.record import EVENTS_FILE, SWEEP_FILE
from tinytl.errors import ConfigError

RUNS = Path("runs")


def find_sweep(directory: Path | None, runs: Path = RUNS) -> Path:
    """Returns the directory if it holds a sweep; without one, that of the newest in `runs`.

    Raises:
        ConfigError: If there is no sweep.
    """
    if directory is not None:
        if not (directory / SWEEP_FILE).is_file():
            raise ConfigError(
                f"{directory} holds no sweep; give the directory of one, such as {RUNS}/NAME"
            )
        return directory
    sweeps = [file.parent for file in runs.glob(f"*/{SWEEP_FILE}")]
    if not sweeps:
        raise ConfigError(
            f"there is no sweep in {runs}/; start one with `tinytl sweep`, or give the directory "
            "of one"
        )
    return max(sweeps, key=_last_change)


def _last_change(sweep: Path) -> float:
    files = (sweep / EVENTS_FILE, sweep / SWEEP_FILE)
    return max(file.stat().st_mtime for file in files if file.exists())
