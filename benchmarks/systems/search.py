"""Which sampler finds the front with the fewest trials, on a recorded table, over many seeds.

    python -m benchmarks.systems.search [--table NAME] [--seeds N] [--trials N] [--json FILE] ...
    python -m benchmarks.systems.search [--table NAME] --record DIR [--data DIR] [--weights DIR]

The first simulates: every trial goes as it did when the table was recorded, or as a model expects
that was fitted to the table; its cross-validated error is printed. All samplers are told the same,
also what breaks the limit of memory. The second runs the table's random trials anew, an hour on one
core, goes on where it was interrupted, and writes the table.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.systems.report import finish
from benchmarks.systems.report import show as show_table
from orchestrator.backends import local
from orchestrator.inputs.site import Site
from orchestrator.record import SWEEP_FILE, SweepRecord
from orchestrator.resources.classes import predicted_peak_bytes
from orchestrator.simulation.compare import Contender, compare
from orchestrator.simulation.oracle import Oracle
from orchestrator.simulation.report import numbers, picture, show, standard_error, target
from orchestrator.simulation.tables import read_table, write_table
from orchestrator.spec import load_spec
from orchestrator.sweep import Sweep
from tinytl.builtin import build_weights
from tinytl.data import load_splits
from tinytl.storage import write_atomically

TABLES = Path(__file__).parent / "tables"
LIMITS = {"digits": "5MB", "cifar10": "10MB"}  # of each table, whose study has the same name
DEFAULT = "memory_aware"
HALVED = (DEFAULT, "nsga2", "random")
PEERS = ("nsga2", "tpe", "gp", "random")


def record(
    table: str, directory: Path, data: Path | None = None, weights: Path | None = None
) -> dict[str, Any]:
    """Runs the table's trials, those that the directory lacks, writes it and says how many."""
    spec = load_spec(str(TABLES / f"{table}.yaml"))
    build_weights()
    (validation,) = spec.values("validation")
    site = Site(
        data=data,
        weights=weights,
        device="cpu",
        classes={table: len(load_splits(table, data, validation=validation).classes)},
        predict=predicted_peak_bytes,
    )
    begun = (directory / SWEEP_FILE).exists()
    events = (
        SweepRecord.resume(directory)
        if begun
        else SweepRecord.create(directory, spec.resolved_yaml())
    )
    local.run(Sweep(spec, events, site))
    events.close()
    rows = read_table(directory)
    write_table(TABLES / f"{table}.jsonl", rows)
    return {"rows": len(rows)}


def measure(
    table: str, seeds: int, trials: int, samplers: Sequence[str]
) -> tuple[list[Contender], dict[str, Any]]:
    """Returns how each sampler did, and some of them with halving; and that as results."""
    limit = f"limits.peak_bytes={LIMITS[table]}"
    spec = load_spec(str(TABLES / f"{table}.yaml"), [limit], trials=trials)
    oracle = Oracle(spec, table, read_table(TABLES / f"{table}.jsonl"))
    print(oracle.describe(), flush=True)
    oracles = {table: oracle}
    began = time.monotonic()

    def tell(done: int, total: int) -> None:
        print(f"{done} of {total} sweeps, {time.monotonic() - began:.0f} s", flush=True)

    plain = compare(spec, oracles, samplers, ["none"], seeds=seeds, workers=1, on_progress=tell)
    halved = compare(
        spec,
        oracles,
        [name for name in HALVED if name in samplers],
        ["halving"],
        seeds=seeds,
        workers=1,
    )
    results = {
        "table": table,
        "limit": LIMITS[table],
        "trials": trials,
        "seeds": seeds,
        "model_errors": oracle.errors,
        "claims": claims(plain, halved),
        "contenders": numbers([*plain, *halved]),
    }
    return [*plain, *halved], results


def claims(plain: Sequence[Contender], halved: Sequence[Contender]) -> list[dict[str, Any]]:
    """Returns what is claimed of sampler and scheduler, what was found, and whether it holds."""
    by_name = {contender.sampler: contender for contender in plain}
    ours = by_name[DEFAULT]
    found = []
    if "random" in by_name:
        goal = target(plain)
        own, other = ours.trials_to(goal), by_name["random"].trials_to(goal)
        share = None if own is None else own / (other or len(ours.traces[0].hypervolume))
        found.append(
            {
                "claim": "95 % of the final hypervolume in at most 60 % of random's trials",
                "found": "not reached"
                if share is None
                else f"{share:.0%}" + (" (random: not reached)" if other is None else ""),
                "holds": share is not None and share <= 0.6,
            }
        )
    for name, peer in by_name.items():
        if peer is ours:
            continue
        difference = float(ours.final.mean() - peer.final.mean())
        error = float(np.hypot(standard_error(ours.final), standard_error(peer.final)))
        found.append(
            {
                "claim": f"at least as good as {name}, within one standard error",
                "found": f"{difference:+.3g} ± {error:.2g}",
                "holds": difference >= -error,
            }
        )
    return found + [_saved(by_name[contender.sampler], contender) for contender in halved]


def _saved(plain: Contender, halved: Contender) -> dict[str, Any]:
    """Returns what is claimed of early stopping.

    A sweep that is simply ended after as many epochs is named beside it.
    """
    epochs, whole = halved.epochs.mean(), plain.final.mean()
    share = float(halved.final.mean() / whole)
    cut = float(np.mean([np.interp(epochs, t.epochs, t.hypervolume) for t in plain.traces]) / whole)
    spent = float(epochs / plain.epochs.mean())
    return {
        "claim": f"halving, {halved.sampler}: hypervolume within 1 % at no more than half of the "
        "epochs",
        "found": f"{share:.1%} at {spent:.0%}; without, as many epochs give {cut:.1%}",
        "holds": share >= 0.99 and spent <= 0.5,
    }


def print_recorded(results: dict[str, Any]) -> None:
    """Prints how many rows the table has."""
    print(f"{results['rows']} rows")


def print_results(results: dict[str, Any]) -> None:
    """Prints the claims."""
    rows = [[c["claim"], c["found"], "yes" if c["holds"] else "NO"] for c in results["claims"]]
    show_table(
        f"{results['table']}: {results['seeds']} seeds, {results['trials']} trials",
        ["", "found", "holds"],
        rows,
    )


def main() -> int:
    """Records, or simulates, prints a table, and writes JSON and PNG where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.search", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--table", choices=LIMITS, default="digits", help="[digits]")
    parser.add_argument("--record", type=Path, metavar="DIR", help="run the table's trials there")
    parser.add_argument("--data", type=Path, metavar="DIR", help="datasets, to record")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="pre-trained, to record")
    parser.add_argument("--seeds", type=int, default=20, help="sweeps of each [20]")
    parser.add_argument("--trials", type=int, default=200, help="trials of each sweep [200]")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"samplers [{','.join(PEERS)}]")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()
    if given.record is not None:
        return finish(
            lambda: record(given.table, given.record, given.data, given.weights),
            print_recorded,
            None,
        )

    def measured() -> dict[str, Any]:
        samplers = [DEFAULT, *given.peers.split(",")]
        found, results = measure(given.table, given.seeds, given.trials, samplers)
        show(Console(), given.table, found)
        if given.png is not None:
            title = f"{given.table}, {given.trials} trials, mean of {given.seeds} seeds"
            write_atomically(given.png, picture(found, title))
        return results

    return finish(measured, print_results, given.json)


if __name__ == "__main__":
    sys.exit(main())
