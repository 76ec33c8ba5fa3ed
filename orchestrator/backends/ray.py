"""Runs a sweep on Ray Tune, from one process to many nodes.

Tune places trials, reuses their processes and notices when one dies. What to run and whether it
goes on is the sweep's: the searcher and the scheduler here only pass questions on.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.resources import memory_class_bytes
from orchestrator.trial import TrialRequest, reason_of, run_trial
from tinytl.errors import ConfigError, StorageError, TinyTLError
from tinytl.finetune import EpochReport

if TYPE_CHECKING:  # a worker imports this module too, and needs neither search nor fronts
    from orchestrator.sweep import Sweep

_RETRIES = 1  # of a trial whose process died; it goes on from its checkpoint
_OBJECT_STORE_BYTES = 2**27  # reports are small, and images never travel through Ray


def run(sweep: "Sweep", *, address: str | None = None) -> None:
    """Runs until no trial is left, or Ctrl-C stops it.

    Args:
        sweep: The sweep.
        address: Of a running Ray cluster; None starts one on this machine, on loopback only.

    Raises:
        ConfigError: If the cluster does not answer.
        StorageError: If the record or a checkpoint cannot be written.
    """
    directory = Path(tempfile.mkdtemp(prefix="tinytl-"))  # short: Ray's sockets are below it
    try:
        _connect(address, directory)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        threads = sweep.spec.search.threads
        workers = sweep.spec.search.workers or max(1, cpus // threads)
        searcher = _Searcher(sweep, _largest_node_bytes())
        scheduler = _Scheduler(sweep)
        tune.Tuner(
            tune.with_resources(_Trainable, _resources(threads, sweep.site.device)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(directory / "tune"),
                stop=_Stopper(sweep),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
        if problem := searcher.problem or scheduler.problem:
            raise problem
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def _connect(address: str | None, directory: Path) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(directory),
            **quiet,
        )
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--address: no Ray cluster answers at {address} ({reason_of(error)}); start one, "
            "correct the address, or leave it out to run on this machine"
        ) from None


def _largest_node_bytes() -> int:
    return int(max(node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]))


def _resources(cpus: int, device: str) -> Any:
    """Returns what Tune calls for each trial: processors, and the class of its memory."""

    def request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        trial: TrialRequest = config["request"]
        asked: dict[str, float] = {"CPU": cpus}
        if device == "cpu":
            asked["memory"] = memory_class_bytes(trial.predicted_bytes)
        else:
            asked["GPU"] = 1
        return tune.PlacementGroupFactory([asked])

    return request


class _Trainable(tune.Trainable):
    """A process that runs one trial after the other; a step is an epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._reports: Iterator[EpochReport] = run_trial(config["request"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            return {"report": next(self._reports)}
        except StorageError as error:  # no fault of the trial's, which --resume takes up again
            return {"storage_error": str(error)}
        except Exception as error:  # told to the sweep; Tune retries only a process that died
            return {"error": reason_of(error)}

    def cleanup(self) -> None:
        self._reports = iter(())


class _Unsaved:
    """What Tune saves of an object for its own restore, which is not used: nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(_Unsaved, Searcher):
    """Passes Tune's question for a trial on to the sweep."""

    def __init__(self, sweep: "Sweep", largest_node_bytes: int) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._sweep = sweep
        self._largest_node_bytes = largest_node_bytes
        self._names: dict[str, str] = {}
        self.problem: TinyTLError | None = None

    def set_search_properties(self, *arguments: Any, **settings: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        try:
            request = None if self.problem else self._ask()
        except TinyTLError as error:
            self.problem, request = error, None
        if request is None:
            return Searcher.FINISHED
        self._names[trial_id] = request.trial
        return {"request": request}

    def _ask(self) -> TrialRequest | None:
        """Returns a trial that some node has room for; Tune would wait for others for ever."""
        while (request := self._sweep.ask()) is not None:
            needed = memory_class_bytes(request.predicted_bytes)
            if needed <= self._largest_node_bytes:
                return request
            self._sweep.fail(
                request.trial,
                f"it asks for {needed / 1e6:.0f} MB of memory, but the largest node of the cluster "
                f"has {self._largest_node_bytes / 1e6:.0f} MB",
            )
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        name = self._names.pop(trial_id, None)
        if error and name is not None:
            self._sweep.fail(name, f"its process died {_RETRIES + 1} times")

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
            if "error" in result:
                self._sweep.fail(name, result["error"])
            elif self._sweep.report(name, result["report"]):
                return TrialScheduler.CONTINUE
        except TinyTLError as error:  # nothing can be written: nothing more may run
            self.problem = self.problem or error
            tune_controller.request_stop_experiment()
        return TrialScheduler.STOP
