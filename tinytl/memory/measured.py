"""What a training step really used: bytes kept by autograd, and the peak of everything.

docs/memory.md says how the meter works, how it was checked, and what it cannot see.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from tinytl.memory.marks import Marks, storage, tensors


@dataclass(frozen=True)
class StepMemory:
    """The memory of one training step in bytes.

    Attributes:
        peak_bytes: Everything: what is resident, and the highest sum of what the step allocated.
        saved_bytes: What autograd keeps between forward and backward, parameters apart.
        parameters_bytes: Parameters, resident.
        buffers_bytes: Buffers, resident.
        optimizer_bytes: Optimizer state, resident.
        input_bytes: The batch of images and labels, resident.
        activations_bytes: Kept activations alive at the peak.
        gradients_bytes: Gradients of parameters alive at the peak.
        transient_bytes: Everything else alive at the peak: temporary tensors, kernels' scratch.
        peak_at: The block that ran at the peak, forward or backward: the dotted name of the
            innermost module, or of what `tinytl.memory.marks.running` named. Empty where none ran,
            and on CUDA, where the moment is not known.
    """

    peak_bytes: int
    saved_bytes: int
    parameters_bytes: int
    buffers_bytes: int
    optimizer_bytes: int
    input_bytes: int
    activations_bytes: int
    gradients_bytes: int
    transient_bytes: int
    peak_at: str = ""


def measure_step(
    step: Callable[[], object],
    *,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Iterable[Tensor],
) -> StepMemory:
    """Runs one training step and returns the memory that it used.

    The step must begin without gradients and end with the optimizer's update. State that a first
    step creates is resident, as it is for all later ones; on CUDA, where blocks cannot be told
    apart, it is counted twice if the update is the step's peak.

    Args:
        step: Forward pass, backward pass and update.
        network: Its parameters and buffers are resident.
        optimizer: Its state is resident.
        inputs: The images and labels of the batch.
    """
    device = next(network.parameters()).device
    parameters = stored_bytes(network.parameters())
    buffers = stored_bytes(network.buffers())
    batch = stored_bytes(inputs)
    marks = Marks(network, optimizer)
    meter = _cuda_peak if device.type == "cuda" else _cpu_peak
    with marks.recording():
        peak = meter(step, marks)
    state = stored_bytes(tensors(optimizer.state.values()))
    return StepMemory(
        peak_bytes=parameters + buffers + state + batch + peak.total_bytes,
        saved_bytes=marks.saved_bytes,
        parameters_bytes=parameters,
        buffers_bytes=buffers,
        optimizer_bytes=state,
        input_bytes=batch,
        activations_bytes=peak.activations_bytes,
        gradients_bytes=peak.gradients_bytes,
        transient_bytes=peak.total_bytes - peak.activations_bytes - peak.gradients_bytes,
        peak_at=peak.block,
    )


def inference_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Returns the highest sum of what `run` allocates, resident tensors apart."""
    meter = _cuda_peak if device.type == "cuda" else _cpu_peak
    return meter(run, None).total_bytes


@dataclass(frozen=True)
class _Peak:
    total_bytes: int
    activations_bytes: int = 0
    gradients_bytes: int = 0
    block: str = ""


def _cpu_peak(run: Callable[[], object], marks: Marks | None) -> _Peak:
    """The highest sum of the allocator's events during `run`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    resident = marks.optimizer_state() if marks else set()
    blocks = [b for b in _blocks(profiler) if b.end_ns < _NEVER or b.address not in resident]
    changes = sorted(
        [(b.start_ns, b.size_bytes) for b in blocks] + [(b.end_ns, -b.size_bytes) for b in blocks]
    )
    total = highest = 0
    moment = 0
    for time_ns, size_bytes in changes:
        total += size_bytes
        if total > highest:
            highest, moment = total, time_ns
    if marks is None:
        return _Peak(highest)
    alive = [b for b in blocks if b.start_ns <= moment < b.end_ns]
    return _Peak(
        highest,
        activations_bytes=_marked(alive, marks.activations),
        gradients_bytes=_marked(alive, marks.gradients),
        block=marks.block_at(moment),
    )


def _cuda_peak(run: Callable[[], object], marks: Marks | None) -> _Peak:
    """The highest memory of CUDA's caching allocator during `run`, above what was there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return _Peak(torch.cuda.max_memory_allocated() - before)


_NEVER = (1 << 63) - 1
"""Release of what is still there when the profiler stops."""


@dataclass
class _Block:
    """A piece of memory between its allocation and its release."""

    address: int
    size_bytes: int
    start_ns: int
    end_ns: int


def _blocks(profiler: profile) -> list[_Block]:
    """Returns what was allocated while the profiler ran; what was there before is not seen."""
    alive: dict[int, _Block] = {}
    released: list[_Block] = []
    for event in _allocations(profiler):
        fields = event.extra_fields
        if fields.alloc_size > 0:
            alive[fields.ptr] = _Block(fields.ptr, fields.alloc_size, event.start_time_ns, _NEVER)
        elif fields.ptr in alive:
            block = alive.pop(fields.ptr)
            block.end_ns = event.start_time_ns
            released.append(block)
    return released + list(alive.values())


def _allocations(profiler: profile) -> list[Any]:
    results: Any = profiler.profiler
    pending = list(results.kineto_results.experimental_event_tree())
    events = []
    while pending:
        event = pending.pop()
        pending.extend(event.children)
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == "cpu":
            events.append(event)
    return sorted(events, key=lambda event: event.start_time_ns)


def _marked(blocks: list[_Block], marks: list[tuple[int, int]]) -> int:
    """Returns the bytes of the blocks that a mark falls into, by address and time."""
    times: dict[int, list[int]] = {}
    for address, time_ns in marks:
        times.setdefault(address, []).append(time_ns)
    return sum(
        block.size_bytes
        for block in blocks
        if any(block.start_ns <= t < block.end_ns for t in times.get(block.address, []))
    )


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of the tensors' storages, a shared one counted once."""
    return sum({storage(t): t.untyped_storage().nbytes() for t in tensors}.values())
