"""Inception-V3 (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna; CVPR 2016), made of torchvision's.

Without the auxiliary classifier. Each mixed block as a whole is a main branch: it has no skip
connection, and what it concatenates has one size.
"""

from torch import Tensor, nn
from torchvision.models import inception

from tinytl.backbones.adapted import AdaptedNetwork, Layout
from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network
from tinytl.config import Norm

MIN_RESOLUTION = 107


def _own_name(name: str) -> str | None:
    """Leaves the auxiliary classifier out."""
    return None if name.startswith("AuxLogits.") else name


POINTS = (
    InsertionPoint("Mixed_5b", 0, 192, 256, 1),
    InsertionPoint("Mixed_5c", 0, 256, 288, 1),
    InsertionPoint("Mixed_5d", 0, 288, 288, 1),
    InsertionPoint("Mixed_6a", 1, 288, 768, 2),
    InsertionPoint("Mixed_6b", 1, 768, 768, 1),
    InsertionPoint("Mixed_6c", 1, 768, 768, 1),
    InsertionPoint("Mixed_6d", 1, 768, 768, 1),
    InsertionPoint("Mixed_6e", 1, 768, 768, 1),
    InsertionPoint("Mixed_7a", 2, 768, 1280, 2),
    InsertionPoint("Mixed_7b", 2, 1280, 2048, 1),
    InsertionPoint("Mixed_7c", 2, 2048, 2048, 1),
)
LAYOUT = Layout(
    head="fc",
    points=POINTS,
    block_names=tuple(point.path for point in POINTS),
    residual_blocks=(),
    ends_in_branches=True,
    own_name=_own_name,
)


class _ConvNormAct(inception.BasicConv2d):
    """torchvision's, with its activation as a module, which can be counted and can keep less."""

    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Returns the activations [N, C, H', W']."""
        return self.act(self.bn(self.conv(input)))


def _build(norm: Norm, classes: int, dropout: float) -> Network:
    # torchvision's own initialization samples truncated normals by scipy, for most of a minute
    body = inception.Inception3(aux_logits=False, transform_input=False, init_weights=False)
    for module in list(body.modules()):
        if isinstance(module, inception.BasicConv2d):
            nn.init.kaiming_normal_(module.conv.weight, mode="fan_out", nonlinearity="relu")
            module.act = nn.ReLU(inplace=True)
            module.__class__ = _ConvNormAct
    return AdaptedNetwork(body, LAYOUT, norm, classes, dropout)


BACKBONES = {
    "inception_v3": BackboneInfo(
        "inception_v3", 3, ("bn_frozen", "gn_ws"), MIN_RESOLUTION, _build, last_convolution=False
    )
}
