"""What a plan will cost, told from its blocks: the same walk as the step's, on numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from tinytl.engine.planned.costs import Costs
from tinytl.engine.planned.plan import Part, Plan


@dataclass(frozen=True)
class Predicted:
    """What one training step costs.

    Attributes:
        step_bytes: The highest sum of what the step allocates.
        work: Of the step, in products.
    """

    step_bytes: int
    work: float


def predict(plan: Plan, costs: Costs, batch: int) -> Predicted:
    """Returns what a step of `plan` costs for a batch of so many images."""
    return _Prediction(plan, costs, batch).of_step()


class _Prediction:
    def __init__(self, plan: Plan, costs: Costs, batch: int) -> None:
        self.plan, self.costs, self.batch = plan, costs, batch
        self.work = 0.0

    def of_step(self) -> Predicted:
        peak, alive = self._saving(self.plan.parts, self.batch)
        head = self.costs.head_bytes(self.batch, self.plan.tile_bytes)
        peak = max(peak, alive + head)
        chain = self._backward_chain(self.plan.parts, self.batch, 0)
        return Predicted(max(peak, self._first_input() + chain), self.work)

    def _first_input(self) -> int:
        """Returns the bytes of the lowest input that is saved; the images are resident anyway."""
        needed = (part for part in self.plan.parts if _last(part) >= self.costs.lowest)
        first = _first(next(needed, 0))
        return self.costs.shapes[first].bytes(self.batch) if first else 0

    def _forward(self, part: Part | int, images: int) -> int:
        """Returns the peak of a forward pass that keeps nothing but its result."""
        if isinstance(part, int):
            self.work += self.costs.forward_work(part, images)
            held = images < self.batch
            return self.costs.forward_bytes(part, images, self.plan.tile_bytes, held)
        peak = result = 0
        for chunk in _chunks(images, part.images):
            hidden = 0
            for child in part.children:
                peak = max(peak, result + hidden + self._forward(child, chunk))
                hidden = self._result(child, chunk)
            if chunk < images:  # there from the first part of it on
                result = self._result(part, images)
                peak = max(peak, result + hidden)
        return peak + self._held(part, images)

    def _saving(self, parts: Sequence[Part | int], images: int) -> tuple[int, int]:
        """Returns the peak of a forward pass that saves, and what is there after it."""
        peak = alive = 0
        for part in parts:
            peak = max(peak, alive + self._forward(part, images))
            needed = _last(part) >= self.costs.lowest
            if needed:
                alive += self._result(part, images) + self._kept(part, images)
            else:
                alive = self._result(part, images)
        return peak, alive

    def _backward_chain(self, parts: Sequence[Part | int], images: int, given: int) -> int:
        """Returns the peak of the backward passes above the first part's input.

        Args:
            parts: One after another.
            images: At a time.
            given: Bytes of the last gradient that are counted elsewhere.
        """
        needed = [part for part in parts if _last(part) >= self.costs.lowest]
        # what each part finds saved: the inputs of all but the first, and what blocks keep
        before = 0
        peak = 0
        for index, part in enumerate(needed):
            first = index == 0
            own = 0 if first else self.costs.shapes[_first(part)].bytes(images)
            last = index == len(needed) - 1
            above = before + own - (given if last else 0)
            peak = max(peak, above + self._backward(part, images))
            before += own + self._kept(part, images)
        return peak

    def _backward(self, part: Part | int, images: int) -> int:
        """Returns the peak of a backward pass, what it is given included but for its input."""
        if isinstance(part, int):
            held = images < self.batch
            self.work += self.costs.backward_work(part, images)
            return self.costs.backward_bytes(part, images, self.plan.tile_bytes, held)
        chunks = _chunks(images, part.images)
        result = self._result(part, images)
        gradients = 0
        if images == self.batch and len(chunks) > 1:
            gradients = sum(self.costs.gradient_bytes(block) for block in part.blocks)
        peak = 0
        for chunk in chunks:
            forward, _ = self._saving(part.children, chunk)
            # given whole, the gradient goes with the last block; in parts it stays until the end
            given = self._result(part, chunk) if chunk < images else 0
            chain = self._backward_chain(part.children, chunk, given)
            peak = max(peak, result + forward, (result if given else 0) + chain)
        return gradients + self._held(part, images) + peak

    def _held(self, part: Part, images: int) -> int:
        """Returns the bytes of weights that this part is the outermost one to hold."""
        if not part.images < images == self.batch:
            return 0
        return sum(self.costs.held_bytes(block) for block in part.blocks)

    def _result(self, part: Part | int, images: int) -> int:
        return self.costs.shapes[_last(part) + 1].bytes(images)

    def _kept(self, part: Part | int, images: int) -> int:
        return images * self.costs.kept_bytes[part] if isinstance(part, int) else 0


def _first(part: Part | int) -> int:
    return part if isinstance(part, int) else part.blocks.start


def _last(part: Part | int) -> int:
    return part if isinstance(part, int) else part.blocks.stop - 1


def _chunks(images: int, at_a_time: int) -> list[int]:
    """Returns how many images are computed together, one after another."""
    whole, rest = divmod(images, at_a_time)
    return [at_a_time] * whole + ([rest] if rest else [])
