"""What every backbone declares, so that methods and lite residual modules work on all of them."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from tinytl.config import Norm
from tinytl.nn.normalization import InputNormalization


@dataclass(frozen=True)
class ModuleShape:
    """A lite residual module beside a main branch.

    Attributes:
        width: Its expand ratio.
        kernel_size: Of its first convolution.
        groups: Of its first convolution.
    """

    width: float
    kernel_size: int
    groups: int


@dataclass(frozen=True)
class InsertionPoint:
    """A main branch to whose output a lite residual module can be added.

    Attributes:
        path: Dotted name of the main branch's module.
        stage: Which declared stage the block belongs to, from 0.
        in_channels: Channels of the block's input.
        out_channels: Channels of the main branch's output.
        stride: The block's stride.
        module: The module that the published architecture has there, if it has one.
    """

    path: str
    stage: int
    in_channels: int
    out_channels: int
    stride: int
    module: ModuleShape | None = None


class Network(nn.Module):
    """A classifier made of a backbone and one linear layer.

    Attributes:
        normalization: Of the images; that of the weights, once they are loaded.
        classifier: The last layer; every method trains it.
        insertion_points: Where lite residual modules can go, in the order of execution.
        block_names: Dotted names of all blocks, in the order of execution.
        residual_blocks: Of these, the ones that hold their input for a skip connection.
        last_convolution: The last convolution before the classifier and its norm; empty where
            several branches end side by side.
        sequence: Dotted names of modules of which one takes what the one before it returns, from
            the images to the map whose mean is classified; empty where it is not that simple.
    """

    classifier: nn.Linear
    insertion_points: tuple[InsertionPoint, ...]
    block_names: tuple[str, ...]
    residual_blocks: tuple[str, ...]
    # the modules, not their names, which change where a lite residual module is inserted
    last_convolution: tuple[nn.Module, ...]
    sequence: tuple[str, ...]
    dropout: nn.Dropout

    def __init__(self) -> None:
        super().__init__()
        self.normalization = InputNormalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    @abstractmethod
    def forward(self, input: Tensor) -> Tensor:
        """Returns the logits [N, classes] of images [N, 3, H, W].

        Args:
            input: uint8, or floats that are normalized already.
        """

    @abstractmethod
    def own_name(self, name: str) -> str | None:
        """Returns this network's name for a tensor of a published state dict.

        Names that are its own already stay; None is what it has no place for.
        """


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone by name.

    Attributes:
        name: The name in configurations.
        stages: How many stages it declares; a lite residual width can be given for each.
        norms: The normalization layers it can be built with, the first by default.
        min_resolution: The smallest images it takes.
        build: Makes it from (norm, classes, dropout), with random weights.
        last_convolution: Whether one convolution comes last before the classifier, so that it can
            be trained too.
    """

    name: str
    stages: int
    norms: tuple[Norm, ...]
    min_resolution: int
    build: Callable[[Norm, int, float], Network]
    last_convolution: bool = True
