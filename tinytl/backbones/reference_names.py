"""Parameter names of the reference implementation, mapped both ways.

Our names: `stem.conv.weight`, `blocks.5.main.expand.norm.bias`, and with a lite residual module
`blocks.5.main.main.expand.norm.bias`, `blocks.5.main.lite_residual.conv1.weight`. The reference's:
`first_conv.conv.weight`, `blocks.5.conv.inverted_bottleneck.bn.bias`, and
`blocks.5.conv.main_branch...`; older files say `mobile_inverted_conv` for `conv`.
"""

import re

_PARTS = {
    "stem": "first_conv",
    "features": "feature_mix_layer",
    "expand": "inverted_bottleneck",
    "depthwise": "depth_conv",
    "project": "point_linear",
    "norm": "bn",
    "norm1": "bn1",
    "final_norm": "final_bn",
}
_REFERENCE_PARTS = {theirs: ours for ours, theirs in _PARTS.items()}
_OUR_BLOCK = re.compile(r"^(blocks\.\d+)\.main(\.main)?\.")
_THEIR_BLOCK = re.compile(r"^(blocks\.\d+)\.(?:mobile_inverted_conv|conv)(\.main_branch)?\.")


def to_reference(name: str) -> str:
    """Returns the reference's name for one of ours."""
    name = ".".join(_PARTS.get(part, part) for part in name.split("."))
    name = re.sub(r"^classifier\.", "classifier.linear.", name)
    return _OUR_BLOCK.sub(lambda m: f"{m[1]}.conv{'.main_branch' if m[2] else ''}.", name)


def from_reference(name: str) -> str:
    """Returns our name for one of the reference's; names that are ours already stay."""
    name = _THEIR_BLOCK.sub(lambda m: f"{m[1]}.main{'.main' if m[2] else ''}.", name)
    name = re.sub(r"^classifier\.linear\.", "classifier.", name)
    return ".".join(_REFERENCE_PARTS.get(part, part) for part in name.split("."))


def without_modules(name: str) -> str:
    """Returns the name that a main branch's parameter has before a module is inserted."""
    return re.sub(r"^(blocks\.\d+\.main)\.main\.", r"\1.", name)
