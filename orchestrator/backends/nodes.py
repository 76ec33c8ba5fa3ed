"""The nodes of a Ray cluster: joined, checked, and asked about."""

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray._private import ray_constants
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.resources.admission import killed_for_memory
from orchestrator.resources.classes import OBJECT_STORE_BYTES
from orchestrator.trial import reason_of
from tinytl.errors import ConfigError

if TYPE_CHECKING:  # a worker imports this module too, and needs neither search nor fronts
    from orchestrator.sweep import Sweep

_SECONDS_FOR_NODES = 600.0  # until all have joined
_SECONDS_FOR_CHECKS = 1800.0  # of a node, which may download weights
_SECONDS_FOR_KILLS = 30.0  # until a node has told of processes that its kernel killed


def connect(address: str | None, directory: Path) -> None:
    """Connects to a running Ray cluster, or starts one on this machine, on loopback only.

    Args:
        address: The cluster's; None starts one.
        directory: For the files of a cluster that is started.

    Raises:
        ConfigError: If the cluster does not answer.
    """
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


def wait_for_nodes(count: int) -> None:
    """Returns when so many nodes have joined.

    Raises:
        ConfigError: If they do not.
    """
    deadline = time.monotonic() + _SECONDS_FOR_NODES
    while (found := len(_alive_nodes())) < count:
        if time.monotonic() > deadline:
            raise ConfigError(
                f"--nodes: {count} nodes must be in the cluster, but after "
                f"{_SECONDS_FOR_NODES / 60:.0f} minutes there are {found}; see what keeps the "
                "others, or ask for fewer"
            )
        time.sleep(1)


def check_nodes(sweep: "Sweep") -> None:
    """Has every node place weights and look for what trials need.

    Raises:
        ConfigError: With a sentence for each thing that nodes lack.
    """
    from orchestrator.cluster.node import NodeNeeds, node_problems, note_in, together
    from orchestrator.resources.classes import library_digest

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


def largest_node_bytes() -> int:
    """Returns the memory that the largest node gives to trials."""
    return int(max(node["Resources"].get("memory", 0) for node in _alive_nodes()))


class Kills:
    """Processes that the nodes' kernels killed for want of memory, each of which is told once.

    Args:
        is_here: Whether this machine is the only node.
    """

    def __init__(self, *, is_here: bool) -> None:
        self._is_here = is_here
        self._told = self._count()

    def new(self) -> bool:
        """Returns whether there is one more."""
        for node, count in self._count().items():
            if count > self._told.setdefault(node, count):
                self._told[node] += 1
                return True
        return False

    def _count(self) -> dict[str, int]:
        if self._is_here:
            return {"": killed_for_memory()}
        ask = ray.remote(num_cpus=0, max_retries=0)(killed_for_memory)
        asked = {}
        for node in _alive_nodes():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[node["NodeID"]] = ask.options(scheduling_strategy=there).remote()
        return {node: count for node, answer in asked.items() if (count := _number(answer)) >= 0}


def _number(reference: Any) -> int:
    """Returns a node's answer; -1 where it has none, for it may just have died."""
    try:
        return int(ray.get(reference, timeout=_SECONDS_FOR_KILLS))
    except ray.exceptions.RayError:
        return -1
