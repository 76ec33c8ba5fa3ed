"""Trials that sleep, run by Ray Tune and by Optuna as they come; see `benchmarks.systems.overhead`.

    python -m benchmarks.systems.overhead_peers tune|optuna TRIALS SECONDS WORKERS

Prints when the first trial began and when the last one was told, in seconds since 1970, as JSON. It
is a process of its own because the orchestrator sets some of Ray's settings for its own process.
"""

import json
import random
import sys
import tempfile
import time
from typing import Any


def tune_times(trials: int, seconds: float, workers: int) -> tuple[float, float]:
    """Returns begin and end of a run of Ray Tune with default settings."""
    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        began = time.time()
        time.sleep(seconds)
        tune.report({"value": config["x"], "began": began})

    ray.init(num_cpus=workers, include_dashboard=False)
    with tempfile.TemporaryDirectory() as directory:
        results = tune.Tuner(
            trial,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=trials, metric="value", mode="max"),
            run_config=tune.RunConfig(storage_path=directory, verbose=0),
        ).fit()
        ended = time.time()
        began = min(result.metrics["began"] for result in results)
    ray.shutdown()
    return began, ended


def optuna_times(trials: int, seconds: float, workers: int) -> tuple[float, float]:
    """Returns begin and end of a study whose objective is called in threads."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    began = []

    def trial(suggested: optuna.Trial) -> float:
        began.append(time.time())
        time.sleep(seconds)
        return suggested.suggest_float("x", 0, 1) + random.random()  # noqa: S311

    optuna.create_study().optimize(trial, n_trials=trials, n_jobs=workers)
    return min(began), time.time()


def main() -> None:
    """Runs one of the two."""
    kind, trials, seconds, workers = sys.argv[1:]
    run = {"tune": tune_times, "optuna": optuna_times}[kind]
    times = run(int(trials), float(seconds), int(workers))
    sys.stdout.write(json.dumps(times) + "\n")


if __name__ == "__main__":
    main()
