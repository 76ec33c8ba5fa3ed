"""A network made plain for inference: layers of stock PyTorch, every weight as it is used."""

from pathlib import Path

import torch
from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.config import FinetuneConfig
from tinytl.engine.build import assemble
from tinytl.nn.conv import WSConv2d
from tinytl.nn.partial import PartialConv2d
from tinytl.nn.quantized import Quantized
from tinytl.nn.weight_standardization import standardize


def plain_network(
    config: FinetuneConfig, classes: int, *, with_modules: bool, files: Path | None = None
) -> Network:
    """Returns a configuration's network in stock layers with random weights, for inference.

    Args:
        config: Of the run; its `norm` must be given.
        classes: Outputs of the classifier.
        with_modules: Whether it has lite residual modules.
        files: Where to look for the description of a specialized network first.
    """
    # which weights it began with matters no more, and their file may be elsewhere
    network, _ = assemble(
        config.model_copy(update={"weights": "random"}),
        classes,
        weights_directory=files,
        pretrained=False,
        with_modules=with_modules,
    )
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for convolution in convolutions:
        convolution.__class__ = nn.Conv2d  # where it standardizes its weight, that is done already
    return network.requires_grad_(False).eval()


def used_state(network: Network) -> dict[str, Tensor]:
    """Returns the state dict of the plain network that gives the same outputs as `network`.

    Names are those of `network`. Weights are what its layers compute with: standardized where the
    layer does that, dense where it is stored as codes, whole where it is trained in part.
    """
    state = network.state_dict()  # not a copy: it carries the versions of its modules
    for name, module in network.named_modules():
        if isinstance(module, Quantized):
            for buffer, _ in module.named_buffers(recurse=False):
                del state[f"{name}.{buffer}"]
            state[f"{name}.weight"] = module.dense()
        elif isinstance(module, PartialConv2d):
            del state[f"{name}.trained"], state[f"{name}.order"]
            state[f"{name}.weight"] = module.used_weight().detach()
        elif isinstance(module, WSConv2d):
            with torch.no_grad():
                state[f"{name}.weight"] = standardize(module.weight)
    return state


def has_modules(state: dict[str, Tensor]) -> bool:
    """Returns whether a state dict is that of a network with lite residual modules."""
    return any(".lite_residual." in name for name in state)
