"""The lite residual module of TinyTL (section 3.2): a small trained branch beside frozen ones."""

import torch.nn.functional as F
from torch import Tensor, nn

from tinytl.nn.conv import WSConv2d
from tinytl.nn.norm import group_norm


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Rounds to a multiple of `divisor`, at least `divisor` and never below 90 % of `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class LiteResidual(nn.Module):
    """Pooling, a group convolution, a 1x1 convolution and upsampling to the main branch's size.

    Its norms are GroupNorm and its convolutions weight-standardized whatever the backbone uses, so
    that no statistic couples the samples of a batch. A new module's final scale is zero: inserting
    it leaves the network's output unchanged.

    Args:
        in_channels: Channels of the block's input.
        out_channels: Channels of the main branch's output.
        expand: Channels between the convolutions, as a multiple of `in_channels`.
        kernel_size: Kernel of the group convolution; 1 stands for global pooling and a 1x1 kernel.
        stride: The block's stride.
        groups: Groups of the group convolution.
        downsample_ratio: Side of the pooling windows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expand: float,
        kernel_size: int,
        stride: int,
        groups: int,
        downsample_ratio: int = 2,
    ) -> None:
        super().__init__()
        width = make_divisible(int(expand * in_channels))
        pooled = kernel_size == 1
        self.pool = nn.AdaptiveAvgPool2d(1) if pooled else nn.AvgPool2d(downsample_ratio)
        self.conv1 = WSConv2d(
            in_channels,
            width,
            kernel_size,
            stride=1 if pooled else stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.norm1 = group_norm(width)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = WSConv2d(width, out_channels, 1, bias=False)
        self.final_norm = group_norm(out_channels)
        nn.init.zeros_(self.final_norm.weight)

    def forward(self, input: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns the residual [N, out_channels, *size] of a block's `input` [N, C, H, W]."""
        hidden = self.act(self.norm1(self.conv1(self.pool(input))))
        hidden = self.final_norm(self.conv2(hidden))
        return F.interpolate(hidden, size=size, mode="bilinear", align_corners=False)


class WithLiteResidual(nn.Module):
    """A main branch with a lite residual module added to its output.

    a' = F_W(a) + b + F_wr(reduce(a)), equation 5 of the paper.
    """

    def __init__(self, main: nn.Module, lite_residual: LiteResidual) -> None:
        super().__init__()
        self.main = main
        self.lite_residual = lite_residual

    def forward(self, input: Tensor) -> Tensor:
        """Returns the sum of both branches."""
        output = self.main(input)
        return output.add_(self.lite_residual(input, output.shape[2:]))
