"""What a training step does and when, noted while it runs, to be laid beside its peak."""

import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_NAMED = "tinytl.block"  # key in a graph node's metadata

_recording: list["Marks"] = []


@contextmanager
def running(block: str) -> Iterator[None]:
    """Tells a meter, if one is watching, that this block runs while the context is open.

    For code that computes a network's layers without calling its modules, which are noticed by
    themselves. Contexts may be nested: the innermost counts.

    Args:
        block: Dotted name.
    """
    watching = tuple(_recording)
    for marks in watching:
        marks.enter(block)
    try:
        yield
    finally:
        for marks in watching:
            marks.leave()


class Marks:
    """Notes when tensors are kept for the backward pass or are gradients, and which block runs.

    Attributes:
        activations: Address and time in ns of what was kept, parameters and buffers apart.
        gradients: Address and time in ns of the gradients that an update found.
        saved_bytes: Of all that was kept.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._network = network
        self._optimizer = optimizer
        self._own = {storage(t) for t in (*network.parameters(), *network.buffers()) if t.numel()}
        self._kept: set[int] = set()
        self._running = [""]
        self._blocks = [(0, "")]
        self._in_backward = False
        self._propagating = ""
        self.activations: list[tuple[int, int]] = []
        self.gradients: list[tuple[int, int]] = []
        self.saved_bytes = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Records while the context is open."""
        with ExitStack() as stack:
            for name, module in self._network.named_modules():
                before, after = partial(self._enter_module, name), partial(self._leave_module, name)
                stack.callback(module.register_forward_pre_hook(before).remove)
                stack.callback(module.register_forward_hook(after).remove)
            stack.callback(self._optimizer.register_step_pre_hook(self._begin_update).remove)
            stack.callback(self._optimizer.register_step_post_hook(self._end_update).remove)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, lambda t: t))
            _recording.append(self)
            stack.callback(_recording.remove, self)
            yield

    def enter(self, block: str) -> None:
        """Notes that a block begins."""
        self._running.append(block)
        self._note(block)

    def leave(self) -> None:
        """Notes that the block which began last is left."""
        self._running.pop()
        self._note(self._running[-1] or self._propagating)

    def block_at(self, time_ns: int) -> str:
        """Returns the block that was running at a time, the empty name where none was."""
        after = bisect_right(self._blocks, time_ns, key=lambda mark: mark[0])
        return self._blocks[after - 1][1]

    def optimizer_state(self) -> set[int]:
        """Returns where the optimizer's state lies."""
        return {storage(tensor) for tensor in tensors(self._optimizer.state.values())}

    def _note(self, block: str) -> None:
        self._blocks.append((time.time_ns(), block))

    def _pack(self, tensor: Tensor) -> Tensor:
        if self._in_backward:  # computed again, and kept for a moment only
            return tensor
        address, size_bytes = storage(tensor), tensor.untyped_storage().nbytes()
        if size_bytes and address not in self._own:
            # one storage kept twice, as a layer's result and the next one's input, counts once
            if address not in self._kept:
                self.saved_bytes += size_bytes
            self._kept.add(address)
            self.activations.append((address, time.time_ns()))
        return tensor

    def _begin_update(self, *_: Any) -> None:
        for parameter in self._network.parameters():
            if parameter.grad is not None:
                self.gradients.append((storage(parameter.grad), time.time_ns()))
        self.enter("")

    def _end_update(self, *_: Any) -> None:
        self.leave()

    def _enter_module(self, name: str, module: nn.Module, inputs: Any) -> None:
        # what is computed between two modules belongs to the one around them
        self._name_nodes(self._running[-1], inputs)
        self.enter(name)

    def _leave_module(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self._name_nodes(name, output)
        self.leave()

    def _name_nodes(self, block: str, values: Any) -> None:
        """Makes the graph nodes behind `values` that have no name yet note this one as they run.

        Hooks for the backward pass of a whole module would do it too, but forbid layers that work
        in place.
        """
        pending: list[Any] = [tensor.grad_fn for tensor in tensors(values)]
        while pending:
            node = pending.pop()
            if node is None or _NAMED in node.metadata:
                continue
            node.metadata[_NAMED] = block
            node.register_prehook(partial(self._run_backward, block))
            pending += [following for following, _ in node.next_functions]

    def _run_backward(self, block: str, grads: Any) -> None:
        if not self._in_backward:
            self._in_backward = True
            engine: Any = torch.autograd.Variable._execution_engine
            engine.queue_callback(self._end_backward)
        self._propagating = block
        self._note(block)

    def _end_backward(self) -> None:
        self._in_backward, self._propagating = False, ""
        self._note(self._running[-1])


def storage(tensor: Tensor) -> int:
    """Returns the address of a tensor's memory."""
    return tensor.untyped_storage().data_ptr()


def tensors(value: Any) -> Iterator[Tensor]:
    """Yields the tensors in nested dictionaries and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(value.values())
    elif not isinstance(value, (str, bytes)) and isinstance(value, Iterable):
        for item in value:
            yield from tensors(item)
