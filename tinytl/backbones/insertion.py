"""Inserts lite residual modules into a network at the points that its backbone declares."""

from tinytl.backbones.base import InsertionPoint, Network
from tinytl.config import LiteResidualConfig
from tinytl.errors import ConfigError
from tinytl.nn.lite_residual import LiteResidual, WithLiteResidual

# The resolution, before the first insertion point, from which the reference derives kernel sizes:
# they must not depend on the images a trial happens to train on.
NOMINAL_RESOLUTION = 128
DOWNSAMPLE_RATIO = 2


def insert_lite_residuals(network: Network, config: LiteResidualConfig) -> None:
    """Adds a module beside the main branch of each block whose stage has a width above zero.

    Raises:
        ConfigError: If there is not one width per stage, or the groups do not divide the channels.
    """
    widths = stage_widths(config.width, 1 + max(p.stage for p in network.insertion_points))
    resolution = NOMINAL_RESOLUTION
    for point in network.insertion_points:
        width = widths[point.stage]
        kernel_size = _fitting_kernel(config.kernel_size, resolution // DOWNSAMPLE_RATIO)
        resolution //= point.stride
        if width > 0:
            module = _module(point, width, kernel_size, config.groups)
            parent, _, name = point.path.rpartition(".")
            block = network.get_submodule(parent)
            setattr(block, name, WithLiteResidual(network.get_submodule(point.path), module))


def stage_widths(width: float | tuple[float, ...], stages: int) -> tuple[float, ...]:
    """Returns one width per stage.

    Raises:
        ConfigError: If `width` is a tuple of another length.
    """
    if not isinstance(width, tuple):
        return (width,) * stages
    if len(width) != stages:
        raise ConfigError(
            f"lite_residual.width must be one value or one for each of the backbone's {stages} "
            f"stages, but got {len(width)} values: {width}"
        )
    return width


def _fitting_kernel(kernel_size: int, resolution: int) -> int:
    while kernel_size > max(resolution, 1):
        kernel_size -= 2
    return kernel_size


def _module(point: InsertionPoint, width: float, kernel_size: int, groups: int) -> LiteResidual:
    try:
        return LiteResidual(
            point.in_channels,
            point.out_channels,
            expand=width,
            kernel_size=kernel_size,
            stride=point.stride,
            groups=groups,
            downsample_ratio=DOWNSAMPLE_RATIO,
        )
    except ValueError as error:
        raise ConfigError(
            f"lite_residual.groups must divide the channels of every block, but got {groups} for "
            f"{point.path} with {point.in_channels} input channels ({error})"
        ) from None
