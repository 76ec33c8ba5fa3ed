"""Inserts lite residual modules into a network at the points that its backbone declares."""

from collections.abc import Sequence

from tinytl.backbones.base import InsertionPoint, ModuleShape, Network
from tinytl.config import LiteResidualConfig
from tinytl.errors import ConfigError
from tinytl.nn.lite_residual import LiteResidual, WithLiteResidual

# The resolution, before the first insertion point, from which the reference derives kernel sizes:
# they must not depend on the images a trial happens to train on.
NOMINAL_RESOLUTION = 128
DOWNSAMPLE_RATIO = 2


def insert_lite_residuals(network: Network, config: LiteResidualConfig | None) -> None:
    """Adds a module beside the main branch of each block whose stage has a width above zero.

    Args:
        network: Without modules, is changed.
        config: None takes the modules of the published architecture, or default ones if it has
            none.

    Raises:
        ConfigError: If there is not one width per stage, or the groups do not divide the channels.
    """
    points = network.insertion_points
    shapes = [point.module for point in points]
    if config is not None or not any(shapes):
        shapes = _configured(points, config or LiteResidualConfig())
    for point, shape in zip(points, shapes, strict=True):
        if shape is not None:
            parent, _, name = point.path.rpartition(".")
            main = network.get_submodule(point.path)
            setattr(
                network.get_submodule(parent), name, WithLiteResidual(main, _module(point, shape))
            )


def _configured(
    points: Sequence[InsertionPoint], config: LiteResidualConfig
) -> list[ModuleShape | None]:
    """Returns the shape of each point's module, None where its stage has a width of zero."""
    widths = stage_widths(config.width, 1 + max(point.stage for point in points))
    shapes: list[ModuleShape | None] = []
    resolution = NOMINAL_RESOLUTION
    for point in points:
        width = widths[point.stage]
        kernel_size = _fitting_kernel(config.kernel_size, resolution // DOWNSAMPLE_RATIO)
        resolution //= point.stride
        shapes.append(ModuleShape(width, kernel_size, config.groups) if width > 0 else None)
    return shapes


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


def _module(point: InsertionPoint, shape: ModuleShape) -> LiteResidual:
    try:
        return LiteResidual(
            point.in_channels,
            point.out_channels,
            expand=shape.width,
            kernel_size=shape.kernel_size,
            stride=point.stride,
            groups=shape.groups,
            downsample_ratio=DOWNSAMPLE_RATIO,
        )
    except ValueError as error:
        raise ConfigError(
            "lite_residual.groups must divide the channels of every block, but got "
            f"{shape.groups} for {point.path} with {point.in_channels} input channels ({error})"
        ) from None
