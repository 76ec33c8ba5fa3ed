"""What a plan will cost, told from its blocks: the same walk as the step's, on numbers."""

from collections.abc import Sequence
from dataclasses import replace

from tinytl.engine.planned.costs import Costs, How
from tinytl.engine.planned.plan import Part, Plan


def step_bytes(plan: Plan, costs: Costs, batch: int) -> int:
    """Returns the highest sum of what a step of `plan` allocates, for a batch of so many images."""
    return _Bytes(plan, costs, batch).of_step()


def step_work(plan: Plan, costs: Costs, batch: int) -> float:
    """Returns the work of a step of `plan`, in products."""
    return _Work(plan, costs, batch).of_step()


class _Walk:
    def __init__(self, plan: Plan, costs: Costs, batch: int) -> None:
        self.plan, self.costs, self.batch = plan, costs, batch

    def _how(self, images: int, *, keep: bool = True) -> How:
        held = images < self.batch and self.plan.holds_weights
        return How(images, self.plan.tile_bytes, held, keep and self.plan.keeps_lite_residuals)

    def _needed(self, parts: Sequence[Part | int]) -> list[Part | int]:
        """Returns the parts that have a backward pass."""
        return [part for part in parts if _last(part) >= self.costs.lowest]


class _Work(_Walk):
    def of_step(self) -> float:
        parts = self.plan.parts
        return self._forward(parts, self.batch) + self._backward(parts, self.batch)

    def _forward(self, parts: Sequence[Part | int], images: int) -> float:
        return sum(self._part_forward(part, images) for part in parts)

    def _part_forward(self, part: Part | int, images: int) -> float:
        if isinstance(part, int):
            return self.costs.forward_work(part, self._how(images))
        return sum(self._forward(part.children, chunk) for chunk in _chunks(images, part.images))

    def _backward(self, parts: Sequence[Part | int], images: int) -> float:
        return sum(self._part_backward(part, images) for part in self._needed(parts))

    def _part_backward(self, part: Part | int, images: int) -> float:
        if isinstance(part, int):
            return self.costs.backward_work(part, self._how(images))
        return sum(
            self._forward(part.children, chunk) + self._backward(part.children, chunk)
            for chunk in _chunks(images, part.images)
        )


class _Bytes(_Walk):
    def of_step(self) -> int:
        peak, alive = self._saving(self.plan.parts, self.batch)
        head = self.costs.head_bytes(self.batch, self.plan.tile_bytes)
        chain = self._backward_chain(self.plan.parts, self.batch, 0)
        return max(peak, alive + head, self._first_input() + chain)

    def _first_input(self) -> int:
        """Returns the bytes of the lowest input that is saved; the images are resident anyway."""
        needed = self._needed(self.plan.parts)
        first = _first(needed[0]) if needed else 0
        return self.costs.shapes[first].bytes(self.batch) if first else 0

    def _forward(self, part: Part | int, images: int, *, keep: bool = False) -> int:
        """Returns the peak of a forward pass; of a part, which keeps nothing but its result."""
        if isinstance(part, int):
            return self.costs.forward_bytes(part, self._how(images, keep=keep))
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
            peak = max(peak, alive + self._forward(part, images, keep=True))
            needed = _last(part) >= self.costs.lowest
            if needed:
                alive += self._result(part, images) + self._kept(part, images)
            else:
                alive = self._result(part, images)
        return peak, alive

    def _backward_chain(
        self, parts: Sequence[Part | int], images: int, given: int, *, grows: bool = False
    ) -> int:
        """Returns the peak of the backward passes above the first part's input.

        Args:
            parts: One after another.
            images: At a time.
            given: Bytes of the last gradient that are counted elsewhere.
            grows: Whether gradients of parameters come into being here, and stay.
        """
        needed = self._needed(parts)
        # what each part finds saved: the inputs of all but the first, and what blocks keep
        before = 0
        peak = 0
        for index, part in enumerate(needed):
            first = index == 0
            own = 0 if first else self.costs.shapes[_first(part)].bytes(images)
            last = index == len(needed) - 1
            above = before + own - (given if last else 0)
            made = (
                needed[index + isinstance(part, int) :] if grows else []
            )  # a block's come with it
            above += sum(map(self._gradients, made))
            peak = max(peak, above + self._backward(part, images, makes=grows))
            before += own + self._kept(part, images)
        return peak

    def _backward(self, part: Part | int, images: int, *, makes: bool = False) -> int:
        """Returns the peak of a backward pass, what it is given included but for its input.

        Args:
            part: Or a block.
            images: At a time.
            makes: Whether the gradients of a block's parameters come into being, and stay.
        """
        if isinstance(part, int):
            how = self._how(images)
            if images < self.batch:
                how = replace(how, gradients="made" if makes else "added")
            return self.costs.backward_bytes(part, how)
        chunks = _chunks(images, part.images)
        result = self._result(part, images)
        owner = images == self.batch and len(chunks) > 1  # of gradients that are added up
        peak = 0
        for number, chunk in enumerate(chunks):
            gradients = self._gradients(part) if owner and number else 0
            forward, _ = self._saving(part.children, chunk)
            # given whole, the gradient goes with the last block; in parts it stays until the end
            given = self._result(part, chunk) if chunk < images else 0
            chain = self._backward_chain(part.children, chunk, given, grows=owner and number == 0)
            peak = max(peak, gradients + result + forward)
            peak = max(peak, gradients + (result if given else 0) + chain)
        return self._held(part, images) + peak

    def _gradients(self, part: Part | int) -> int:
        """Returns the bytes of the gradients of all parameters in a part."""
        blocks = [part] if isinstance(part, int) else part.blocks
        return sum(self.costs.gradient_bytes(block) for block in blocks)

    def _held(self, part: Part, images: int) -> int:
        """Returns the bytes of weights that this part is the outermost one to hold."""
        if not (self.plan.holds_weights and part.images < images == self.batch):
            return 0
        return sum(self.costs.held_bytes(block) for block in part.blocks)

    def _result(self, part: Part | int, images: int) -> int:
        return self.costs.shapes[_last(part) + 1].bytes(images)

    def _kept(self, part: Part | int, images: int) -> int:
        return self.costs.kept_bytes(part, self._how(images)) if isinstance(part, int) else 0


def _first(part: Part | int) -> int:
    return part if isinstance(part, int) else part.blocks.start


def _last(part: Part | int) -> int:
    return part if isinstance(part, int) else part.blocks.stop - 1


def _chunks(images: int, at_a_time: int) -> list[int]:
    """Returns how many images are computed together, one after another."""
    whole, rest = divmod(images, at_a_time)
    return [at_a_time] * whole + ([rest] if rest else [])
