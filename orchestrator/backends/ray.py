"""Runs a sweep on Ray Tune, from one process to many nodes.

Tune places trials, reuses their processes and notices when one dies. What to run and whether it
goes on is the sweep's: the searcher and the scheduler here only pass questions on.
"""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.backends.nodes import (
    Kills,
    check_nodes,
    connect,
    largest_node_bytes,
    wait_for_nodes,
)
from orchestrator.backends.scratch import scratch_directory
from orchestrator.resources.admission import RanOutOfMemoryError
from orchestrator.resources.classes import gpu_share, memory_class_bytes
from orchestrator.trial import RunTrial, TrialRequest, reason_of, run_trial
from tinytl.errors import StorageError, TinyTLError
from tinytl.finetune import EpochReport

if TYPE_CHECKING:  # a worker imports this module too, and needs neither search nor fronts
    from orchestrator.sweep import Sweep

_KILLED = "its process was killed for want of memory, also when no other trial ran"


def run(
    sweep: "Sweep",
    *,
    address: str | None = None,
    nodes: int = 1,
    run_trial: RunTrial = run_trial,
) -> None:
    """Runs until no trial is left, or Ctrl-C stops it.

    Args:
        sweep: The sweep.
        address: Of a running Ray cluster; None starts one on this machine, on loopback only.
        nodes: Of that cluster, which are waited for.
        run_trial: Runs one trial, in another process; a function that can be imported there.

    Raises:
        ConfigError: If the cluster does not answer, or a node lacks what trials need.
        StorageError: If the record or a checkpoint cannot be written.
    """
    with scratch_directory() as directory:
        try:
            connect(address, directory)
            # it would print a traceback for each process that dies; the sweep tells of its trial
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
            if address is not None:
                wait_for_nodes(nodes)
                check_nodes(sweep)
            _run(sweep, directory / "tune", is_here=address is None, run_trial=run_trial)
        finally:
            ray.shutdown()


def _run(sweep: "Sweep", directory: Path, *, is_here: bool, run_trial: RunTrial) -> None:
    cpus = int(ray.cluster_resources().get("CPU", 1))
    threads = sweep.spec.search.threads
    workers = sweep.spec.search.workers or max(1, cpus // threads)
    place = _Place(threads, sweep.site.device)
    searcher = partial(_Searcher, sweep, place, Kills(is_here=is_here), run_trial)
    while not _tune(sweep, searcher(), place, workers, directory):
        pass


def _tune(
    sweep: "Sweep", searcher: "_Searcher", place: "_Place", workers: int, directory: Path
) -> bool:
    """Runs what the sweep asks for, and returns False if there is more for another call."""
    scheduler = _Scheduler(sweep)
    processes = _Processes(sweep, workers)
    tuner = tune.Tuner(
        tune.with_resources(_Trainable, place.request),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(directory),
            stop=_Stopper(sweep),
            verbose=0,
            callbacks=[processes],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    except RuntimeError as error:
        if not isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
            raise
        processes.killed(str(error.__cause__))  # Tune does not know of this, and ends
        return False
    if problem := searcher.problem or scheduler.problem:
        raise problem
    return True


class _Place:
    """What a trial takes of a node: processors, and a class of main memory or of a GPU's."""

    def __init__(self, cpus: int, device: str) -> None:
        self._cpus = cpus
        self._on_cpu = device == "cpu"
        self.bytes = largest_node_bytes() if self._on_cpu else _gpu_bytes()

    def request(self, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Returns what Tune asks Ray for."""
        trial: TrialRequest = config["request"]
        asked: dict[str, float] = {"CPU": self._cpus}
        if self._on_cpu:
            size = memory_class_bytes(trial.predicted_bytes, larger=trial.alone)
            asked["memory"] = min(size, self.bytes) if trial.alone else size
        else:
            asked["GPU"] = gpu_share(trial.predicted_bytes, self.bytes, larger=trial.alone)
        return tune.PlacementGroupFactory([asked])

    def problem(self, trial: TrialRequest) -> str | None:
        """Returns why no node has room for a trial, for which Tune would wait for ever."""
        if self._on_cpu:
            needed, where = memory_class_bytes(trial.predicted_bytes), "largest node of the cluster"
        else:
            share = gpu_share(trial.predicted_bytes, self.bytes)
            needed, where = int(share * self.bytes), "GPU"
        if needed <= self.bytes:
            return None
        return (
            f"it asks for {needed / 1e6:.0f} MB of memory, but the {where} has "
            f"{self.bytes / 1e6:.0f} MB"
        )


def _gpu_bytes() -> int:
    """Returns the memory of this machine's GPU; those of other nodes are taken to be alike."""
    return int(torch.cuda.get_device_properties(0).total_memory)


class _Trainable(tune.Trainable):
    """A process that runs one trial after the other; a step is an epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._reports: Iterator[EpochReport] = config["run_trial"](config["request"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            return {"report": next(self._reports)}
        except StorageError as error:  # no fault of the trial's, which --resume takes up again
            return {"storage_error": str(error)}
        except RanOutOfMemoryError as error:
            return {"ran_out": error}
        except Exception as error:  # told to the sweep
            return {"error": reason_of(error)}

    def cleanup(self) -> None:
        self._reports = iter(())


class _Unsaved:
    """What Tune saves of an object for its own restore, which is not used: nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(_Unsaved, Searcher):
    """Passes Tune's question for a trial on to the sweep."""

    def __init__(self, sweep: "Sweep", place: _Place, kills: Kills, run_trial: RunTrial) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._sweep = sweep
        self._place = place
        self._kills = kills
        self._run_trial = run_trial
        self._names: dict[str, str] = {}
        self.problem: TinyTLError | None = None

    def set_search_properties(self, *arguments: Any, **settings: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        try:
            request = None if self.problem else self._ask()
        except TinyTLError as error:
            self.problem, request = error, None
        if request is not None:
            self._names[trial_id] = request.trial
            return {"request": request, "run_trial": self._run_trial}
        if self._sweep.running and not self.problem:
            return None  # what runs may have to be run once more
        return Searcher.FINISHED

    def _ask(self) -> TrialRequest | None:
        while (request := self._sweep.ask()) is not None:
            if (problem := self._place.problem(request)) is None:
                return request
            self._sweep.fail(request.trial, problem)
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        name = self._names.pop(trial_id, None)
        if not error or name is None:
            return
        try:
            if self._kills.new():
                self._sweep.ran_out(name, 0, _KILLED)
            else:
                self._sweep.lost(name)
        except TinyTLError as problem:
            self.problem = self.problem or problem

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: a resumed sweep starts from its own record."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, see `save`."""


class _Stopper(_Unsaved, tune.Stopper):
    """Ends everything at once when the sweep is stopped, also trials within a long epoch."""

    def __init__(self, sweep: "Sweep") -> None:
        self._sweep = sweep

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._sweep.stopping


class _Processes(_Unsaved, tune.Callback):
    """Knows the process of each trial, and has a suggestion ready for it while it trains."""

    def __init__(self, sweep: "Sweep", workers: int) -> None:
        self._sweep = sweep
        self._workers = workers
        self._actors: dict[str, str] = {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        name, actor = trial.config["request"].trial, trial.temporary_state.ray_actor
        self._actors[name] = actor._actor_id.hex()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._sweep.prepare(self._workers)

    def killed(self, message: str) -> None:
        """Takes that Ray killed a process for want of memory, and all others were ended."""
        running = self._sweep.running
        killed = {name for name in running if self._actors.get(name, "-") in message}
        for name in running:
            if name in killed:
                self._sweep.ran_out(name, 0, _KILLED)
            elif killed:
                self._sweep.interrupted(name)
            else:
                self._sweep.lost(name)


class _Scheduler(_Unsaved, FIFOScheduler):
    """Passes reports on to the sweep, which says whether their trial goes on."""

    def __init__(self, sweep: "Sweep") -> None:
        super().__init__()
        self._sweep = sweep
        self.problem: TinyTLError | None = None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        name = trial.config["request"].trial
        try:
            if "storage_error" in result:
                raise StorageError(result["storage_error"])
            if "ran_out" in result:
                error: RanOutOfMemoryError = result["ran_out"]
                self._sweep.ran_out(name, error.reached_bytes, str(error))
            elif "error" in result:
                self._sweep.fail(name, result["error"])
            elif self._sweep.report(name, result["report"]):
                return TrialScheduler.CONTINUE
        except TinyTLError as problem:  # nothing can be written: nothing more may run
            self.problem = self.problem or problem
            tune_controller.request_stop_experiment()
        return TrialScheduler.STOP
