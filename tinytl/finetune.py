"""One fine-tuning run, start to end, with a checkpoint after every epoch."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from tinytl.backbones import Network
from tinytl.checkpoint import read_tensors, write_tensors
from tinytl.config import FinetuneConfig
from tinytl.data import (
    EvaluationTransform,
    Images,
    Splits,
    Transform,
    batches,
    cache_side,
    cached,
    dataset_info,
    load_splits,
    training_transform,
)
from tinytl.engine.build import build_network
from tinytl.engine.execute import make_step
from tinytl.engine.loss import correct, training_loss
from tinytl.engine.step import cosine_rate, make_optimizer
from tinytl.errors import StorageError, TrainingError
from tinytl.memory.measured import StepMemory, inference_bytes, measure_step
from tinytl.memory.modeled import modeled_bytes

CHECKPOINT = "checkpoint.pt"
_LARGEST_CHUNK = 256
_LOOK_AHEAD = 3  # batches that are loaded while a device computes


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch.

    Attributes:
        epoch: Counted from 1.
        metrics: `train_loss`, `val_accuracy` and `val_loss` (where images are held out),
            `step_seconds` (median), `epoch_seconds`, the three memory numbers and the split of
            `peak_bytes` as `memory.*`, `frozen_weights.error` (where they are stored as codes; see
            `tinytl.engine.quantize.Quantization`); after the last epoch `test_accuracy` and
            `test_loss` too.
    """

    epoch: int
    metrics: dict[str, float]


def finetune(
    config: FinetuneConfig,
    *,
    directory: Path,
    data: Path | None = None,
    weights: Path | None = None,
    device: str | torch.device = "cpu",
    largest_resolution: int | None = None,
    cache_limit_bytes: int | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> dict[str, float]:
    """Runs to the end, from the checkpoint in `directory` if there is one.

    An interrupted run that is called again gives the same numbers as an uninterrupted one.

    Args:
        config: What to train.
        directory: For the checkpoint; created if missing.
        data: Root of the datasets, not needed for those that are built in.
        weights: Where to look for weights first.
        device: Where to train.
        largest_resolution: Of all runs that share the cache of decoded images; None for this one
            alone. Images are kept as large as it needs them.
        cache_limit_bytes: The most that the cache may keep of the dataset, see
            `tinytl.data.cached`.
        on_epoch: Called after each epoch, when its checkpoint is written.

    Returns:
        The metrics of the last epoch.

    Raises:
        TinyTLError: If the configuration, the data or the weights are not usable, the loss is not
            finite, or the checkpoint cannot be written.
    """
    metrics: dict[str, float] = {}
    for report in epochs(
        config,
        directory=directory,
        data=data,
        weights=weights,
        device=device,
        largest_resolution=largest_resolution,
        cache_limit_bytes=cache_limit_bytes,
    ):
        metrics = report.metrics
        if on_epoch is not None:
            on_epoch(report)
    return metrics


def epochs(
    config: FinetuneConfig,
    *,
    directory: Path,
    data: Path | None = None,
    weights: Path | None = None,
    device: str | torch.device = "cpu",
    largest_resolution: int | None = None,
    cache_limit_bytes: int | None = None,
) -> Iterator[EpochReport]:
    """Trains epoch by epoch and yields a report after each, when its checkpoint is written.

    Starts with the report of the checkpoint in `directory`, if there is one. Arguments and errors
    are those of `finetune`.
    """
    run = _Run(config, directory, data, weights, torch.device(device))
    run.cache_images(max(config.resolution, largest_resolution or 0), cache_limit_bytes)
    if run.report is not None:
        yield run.report
    while run.epoch < config.epochs:
        run.train_epoch()
        yield run.finish_epoch()


def frozen_norms(network: Network) -> dict[str, float]:
    """Returns the Euclidean norm of each tensor that training leaves as it is, by name.

    A checkpoint holds what was trained alone. By these it is found out whether it is put into the
    network that it was trained in; unlike a digest they bear the last bits of another processor.
    """
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {
        name: float(torch.linalg.vector_norm(value, dtype=torch.float64))
        for name, value in tensors
        if not value.requires_grad and value.is_floating_point()
    }


class _Run:
    """The state of one run."""

    def __init__(
        self,
        config: FinetuneConfig,
        directory: Path,
        data: Path | None,
        weights: Path | None,
        device: torch.device,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = device
        self.splits: Splits = load_splits(
            config.dataset,
            data,
            validation=config.validation,
            train_images=config.train_images,
            eval_images=config.eval_images,
        )
        built = build_network(config, len(self.splits.classes), weights_directory=weights)
        self.network: Network = built.network.to(device)
        self.frozen = frozen_norms(self.network)
        self.frozen_weights = built.frozen_weights
        self.optimizer = make_optimizer(self.network, config)
        self.step = make_step(self.network, self.optimizer, config)
        self.steps_per_epoch = math.ceil(len(self.splits.train) / config.batch_size)
        self.epoch = 0
        self.memory: StepMemory | None = None
        self.modeled_bytes = modeled_bytes(self.network, config.resolution, config.batch_size)
        self.chunk = 1
        self.metrics: dict[str, float] = {}
        self.report: EpochReport | None = None
        self.path = directory / CHECKPOINT
        if self.path.exists():
            self._load()

    def cache_images(self, largest_resolution: int, limit_bytes: int | None) -> None:
        """Takes the images from the cache, which is built if missing."""
        info = dataset_info(self.config.dataset)
        side = cache_side(largest_resolution, info, self.config.crop_scale)
        self.splits = cached(self.splits, side=side, limit_bytes=limit_bytes)

    def train_epoch(self) -> None:
        """Trains on every image once, in an order that depends on seed and epoch only."""
        # seeded anew, so that a resumed run draws the same order, crops and dropout
        torch.manual_seed(self.config.seed * 1_000_003 + self.epoch)
        losses, seconds = [], []
        began = time.perf_counter()
        for index, (images, labels) in enumerate(self._training_batches()):
            start = time.perf_counter()
            losses.append(self._step(index, images, labels))
            seconds.append(time.perf_counter() - start)
        self.metrics = {
            "train_loss": statistics.fmean(losses),
            "step_seconds": statistics.median(seconds),
            "epoch_seconds": time.perf_counter() - began,
        }
        self.epoch += 1

    def finish_epoch(self) -> EpochReport:
        """Evaluates, writes the checkpoint and returns the report."""
        if self.splits.validation is not None:
            self.metrics |= self._evaluate(self.splits.validation, "val")
        if self.epoch == self.config.epochs:
            self.metrics |= self._evaluate(self.splits.test, "test")
        self.metrics |= self._memory_metrics()
        if self.frozen_weights is not None:
            self.metrics["frozen_weights.error"] = self.frozen_weights.error
        self.report = EpochReport(self.epoch, dict(self.metrics))
        self._save()
        return self.report

    def _training_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Returns the batches of an epoch; what is random in it is drawn before the first."""
        # of its own, so that dropout's numbers do not depend on the augmentation's
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        count = len(self.splits.train)
        order = torch.randperm(count, generator=generator)
        transform = training_transform(
            dataset_info(self.config.dataset),
            self.config.resolution,
            count=count,
            generator=generator,
            crop_scale=self.config.crop_scale,
        )
        return self._batches(self.splits.train, order, self.config.batch_size, transform)

    def _batches(
        self, images: Images, order: Sequence[int] | Tensor, size: int, transform: Transform
    ) -> Iterator[tuple[Tensor, Tensor]]:
        look_ahead = _LOOK_AHEAD if self.device.type == "cuda" else 0
        return batches(images, order, size, transform, device=self.device, look_ahead=look_ahead)

    def _step(self, index: int, images: Tensor, labels: Tensor) -> float:
        number = self.epoch * self.steps_per_epoch + index
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_rate(
                self.config.learning_rate, number, self.steps_per_epoch * self.config.epochs
            )
        losses: list[Tensor] = []

        def step() -> None:
            losses.append(self.step(images, labels))

        if self.memory is None and self._is_measured(number, len(labels)):
            self.memory = measure_step(
                step, network=self.network, optimizer=self.optimizer, inputs=(images, labels)
            )
            self.chunk = self._evaluation_chunk(self.memory, images[:1])
        else:
            step()
        loss = losses[0].item()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {self.epoch + 1}, step {index + 1}; lower "
                f"learning_rate (it is {self.config.learning_rate:g})"
            )
        return loss

    def _is_measured(self, number: int, images: int) -> bool:
        """Returns whether a step is the second of full size, or the only one of its epoch.

        In the first, libraries still set themselves up, and what is left over in an epoch's last
        step is no batch of the size that was asked for.
        """
        total = len(self.splits.train)
        full_size = min(self.config.batch_size, total)
        return images == full_size and (number > 0 or total // full_size == 1)

    def _evaluation_chunk(self, memory: StepMemory, image: Tensor) -> int:
        """Returns how many images can be evaluated at a time within the training step's peak."""
        with self._evaluating():
            one = inference_bytes(lambda: self.network(image), self.device) + image.nbytes
        resident = memory.parameters_bytes + memory.buffers_bytes + memory.optimizer_bytes
        return max(1, min(_LARGEST_CHUNK, (memory.peak_bytes - resident) // one))

    def _evaluate(self, images: Images, split: str) -> dict[str, float]:
        """Returns accuracy (share of the images, or of all their labels) and mean loss."""
        right, loss = 0.0, 0.0
        transform = EvaluationTransform(self.config.resolution)
        order = range(len(images))
        with self._evaluating():
            for inputs, labels in self._batches(images, order, self.chunk, transform):
                logits = self.network(inputs)
                right += correct(logits, labels)
                loss += float(training_loss(logits, labels, 0.0)) * len(labels)
        return {f"{split}_accuracy": right / len(images), f"{split}_loss": loss / len(images)}

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self.network.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.network.train()

    def _memory_metrics(self) -> dict[str, float]:
        if self.memory is None:
            return {}
        split = asdict(self.memory)
        del split["peak_at"]  # a name, and metrics are numbers
        numbers = {name: split.pop(name) for name in ("peak_bytes", "saved_bytes")}
        return {
            **numbers,
            "modeled_bytes": self.modeled_bytes,
            **{f"memory.{name}": value for name, value in split.items()},
        }

    def _trained(self) -> dict[str, Tensor]:
        return {n: p.detach() for n, p in self.network.named_parameters() if p.requires_grad}

    def _save(self) -> None:
        state = {
            "config": self.config.model_dump(),
            "epoch": self.epoch,
            "classes": list(self.splits.classes),
            "device": self.device.type,
            "trained": self._trained(),
            "frozen": self.frozen,
            "optimizer": self.optimizer.state_dict(),
            "memory": asdict(self.memory) if self.memory else None,
            "chunk": self.chunk,
            "metrics": self.metrics,
        }
        write_tensors(self.path, state)

    def _load(self) -> None:
        state = read_tensors(self.path, self.device)
        if state.get("config") != self.config.model_dump():
            raise StorageError(
                f"{self.path} belongs to a run with another configuration; choose another "
                "directory, or remove the file to start anew"
            )
        parameters = dict(self.network.named_parameters())
        with torch.no_grad():
            for name, value in state["trained"].items():
                parameters[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.memory = StepMemory(**state["memory"]) if state["memory"] else None
        self.chunk = state["chunk"]
        self.metrics = state["metrics"]
        self.report = EpochReport(self.epoch, dict(self.metrics))
