"""Runs a sweep on Ray Tune, from one process to many nodes.

Tune places trials, reuses their processes and notices when one dies. What to run and whether it
goes on is the sweep's: the searcher and the scheduler here only pass questions on.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray._private import ray_constants
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.resources import OBJECT_STORE_BYTES, memory_class_bytes
from orchestrator.trial import TrialRequest, reason_of, run_trial
from tinytl.errors import ConfigError, StorageError, TinyTLError
from tinytl.finetune import EpochReport

if TYPE_CHECKING:  # a worker imports this module too, and needs neither search nor fronts
    from orchestrator.sweep import Sweep

_RETRIES = 1  # of a trial whose process died; it goes on from its checkpoint
_SECONDS_FOR_NODES = 600.0  # until all have joined
_SECONDS_FOR_CHECKS = 1800.0  # of a node, which may download weights


def run(sweep: "Sweep", *, address: str | None = None, nodes: int = 1) -> None:
    """Runs until no trial is left, or Ctrl-C stops it.

    Args:
        sweep: The sweep.
        address: Of a running Ray cluster; None starts one on this machine, on loopback only.
        nodes: Of that cluster, which are waited for.

    Raises:
        ConfigError: If the cluster does not answer, or a node lacks what trials need.
        StorageError: If the record or a checkpoint cannot be written.
    """
    directory = Path(tempfile.mkdtemp(prefix="tinytl-"))  # short: Ray's sockets are below it
    try:
        _connect(address, directory)
        if address is not None:
            _wait_for_nodes(nodes)
            _check_nodes(sweep)
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
        # without it, Ray reads 127.0.0.1 as this machine's address in the network
        ray_constants.ENABLE_RAY_CLUSTER = False
        ray.init(
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(directory),
            **quiet,
        )
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        raise ConfigError(
            f"--address: no Ray cluster lets us in at {address} ({reason_of(error)}); start one, "
            "correct the address, or leave it out to run on this machine; if it asks for a token, "
            "export RAY_AUTH_MODE=token, and its token as RAY_AUTH_TOKEN or in ~/.ray/auth_token"
        ) from None


def _alive_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _wait_for_nodes(count: int) -> None:
    deadline = time.monotonic() + _SECONDS_FOR_NODES
    while (found := len(_alive_nodes())) < count:
        if time.monotonic() > deadline:
            raise ConfigError(
                f"--nodes: {count} nodes must be in the cluster, but after "
                f"{_SECONDS_FOR_NODES / 60:.0f} minutes there are {found}; see what keeps the "
                "others, or ask for fewer"
            )
        time.sleep(1)


def _check_nodes(sweep: "Sweep") -> None:
    """Has every node place weights and look for what trials need.

    Raises:
        ConfigError: With a sentence for each thing that nodes lack.
    """
    from orchestrator.cluster.node import NodeNeeds, node_problems, note_in, together
    from orchestrator.resources import library_digest

    site, directory = sweep.site, sweep.record.directory.absolute()
    with note_in(directory) as note:
        needs = NodeNeeds(
            sweep.spec,
            directory,
            note,
            site.data and site.data.absolute(),
            site.weights and site.weights.absolute(),
            library_digest(),
        )
        ask = ray.remote(num_cpus=0, max_retries=0)(node_problems)
        asked = []
        for node in _alive_nodes():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked.append((node["NodeName"], ask.options(scheduling_strategy=there).remote(needs)))
        problems = together([(name, _answer(reference)) for name, reference in asked])
    if problems:
        raise ConfigError(problems)


def _answer(reference: Any) -> list[str]:
    """Returns what a node says it lacks."""
    try:
        found: list[str] = ray.get(reference, timeout=_SECONDS_FOR_CHECKS)
    except ray.exceptions.RayError as error:
        return [f"it cannot run this package ({reason_of(error)}); install the same version there"]
    return found


def _largest_node_bytes() -> int:
    return int(max(node["Resources"].get("memory", 0) for node in _alive_nodes()))


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
