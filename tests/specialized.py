"""The file that describes a specialized network, of the form in which they are published."""

import json
from pathlib import Path
from typing import Any

# channels, stride, then kernel, expansion, and the module's groups and kernel of each block
STAGES = [
    (16, 2, [(3, 3, 2, 5), (5, 4, 4, 3)]),
    (24, 2, [(7, 6, 2, 3), (3, 3, 2, 5)]),
    (24, 2, [(3, 4, 4, 5), (5, 3, 2, 5)]),
    (32, 1, [(5, 6, 2, 5), (7, 3, 4, 3)]),
    (40, 2, [(3, 3, 2, 5), (5, 4, 2, 3)]),
    (48, 1, [(7, 6, 4, 3)]),
]


def main_branch(inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> dict:
    return {
        "name": "MBConvLayer", "in_channels": inputs, "out_channels": outputs,
        "kernel_size": kernel, "stride": stride, "expand_ratio": expand,
        "mid_channels": inputs * expand, "act_func": "relu6", "use_se": False, "groups": None,
    }  # fmt: skip


def with_module(main: dict, groups: int, kernel: int) -> dict:
    module = {
        "in_channels": main["in_channels"], "out_channels": main["out_channels"], "expand": 1.0,
        "kernel_size": kernel, "act_func": "relu", "n_groups": groups, "downsample_ratio": 2,
        "upsample_type": "bilinear", "stride": main["stride"],
    }  # fmt: skip
    return {"name": "LiteResidualModule", "main": main, "lite_residual": module}


def published(**changes: Any) -> dict[str, Any]:
    """A `net.config` as the reference writes it."""
    blocks = [{"name": "ResidualBlock", "conv": main_branch(16, 8, 3, 1, 1), "shortcut": None}]
    channels = 8
    for width, stride, words in STAGES:
        for position, (kernel, expand, groups, module_kernel) in enumerate(words):
            first = position == 0
            main = main_branch(channels, width, kernel, stride if first else 1, expand)
            shortcut = None if first else {"name": "IdentityLayer"}
            conv = with_module(main, groups, module_kernel)
            blocks.append({"name": "ResidualBlock", "conv": conv, "shortcut": shortcut})
            channels = width
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": 0.1, "eps": 1e-3, "gn_channel_per_group": 8},
        "first_conv": {"name": "ConvLayer", "out_channels": 16},
        "feature_mix_layer": {"name": "ConvLayer", "out_channels": 64},
        "classifier": {"name": "LinearLayer", "in_features": 64, "out_features": 10},
        "blocks": blocks,
        **changes,
    }


def put(directory: Path, config: dict[str, Any]) -> Path:
    """Writes the description of the network for Flowers into a directory of weights."""
    folder = directory / "specialized" / "flowers102"
    folder.mkdir(parents=True)
    (folder / "net.config").write_text(json.dumps(config))
    return folder
