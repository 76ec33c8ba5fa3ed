"""Tensors by name: read from files, loaded into networks, saved for the reference."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tinytl.backbones.base import Network
from tinytl.backbones.proxyless import ProxylessNAS
from tinytl.backbones.reference_names import to_reference, without_modules
from tinytl.checkpoint import load_tensors, write_tensors
from tinytl.errors import WeightsError

_HEAD = ("classifier.weight", "classifier.bias")
_LITE_RESIDUAL = ".lite_residual."
# of BatchNorm; older files lack it, and frozen layers do not use it
_COUNTER = ".num_batches_tracked"


def read_weights(path: Path, network: Network) -> dict[str, Tensor]:
    """Reads a state dict under the network's names; the file may use those of its publisher.

    Raises:
        WeightsError: If the file is corrupt, or holds anything but tensors by name.
    """
    try:
        content = load_tensors(path, torch.device("cpu"))
    except ValueError as error:
        raise WeightsError(f"cannot read weights from {path}: {error}; get it again") from None
    except OSError as error:
        raise WeightsError(f"cannot read weights from {path}: {error.strerror}") from None
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{path} holds no state dict (tensors by name); get another file")
    named = ((network.own_name(name), value) for name, value in state.items())
    return {name: value for name, value in named if name is not None}


def load_backbone(network: Network, state: Mapping[str, Tensor], path: Path) -> bool:
    """Loads a state dict into a network that has no lite residual modules yet.

    The state's own modules are left out, and its classifier where its classes are others.

    Returns:
        Whether the classifier was left out, so that the network's is new.

    Raises:
        WeightsError: If the state was made for another network.
    """
    state = {without_modules(n): v for n, v in state.items() if _LITE_RESIDUAL not in n}
    own = network.state_dict()
    head_replaced = any(name in state and state[name].shape != own[name].shape for name in _HEAD)
    if head_replaced:
        state = {name: value for name, value in state.items() if name not in _HEAD}
    missing = [n for n in own if n not in state and n not in _HEAD and not n.endswith(_COUNTER)]
    surplus = [n for n in state if n not in own]
    other = [n for n in state if n in own and state[n].shape != own[n].shape]
    for problem, names in (("lacks", missing), ("has", surplus), ("has other shapes for", other)):
        if names:
            raise WeightsError(
                f"{path} was made for another network: it {problem} {names[0]}"
                + (f" and {len(names) - 1} more" if len(names) > 1 else "")
                + "; choose the backbone and norm that belong to it"
            )
    # not by load_state_dict, where MNASNet asks for a version that tensors by name do not have
    for name, value in state.items():
        own[name].copy_(value)
    return head_replaced


def load_lite_residuals(network: Network, state: Mapping[str, Tensor]) -> int:
    """Loads the state's lite residual modules into those of the network that have their shape.

    Returns:
        How many modules were loaded.
    """
    own = network.state_dict()
    modules: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        module, found, rest = name.partition(_LITE_RESIDUAL)
        if found:
            modules.setdefault(module + _LITE_RESIDUAL, {})[rest] = value
    loaded = 0
    for module, values in modules.items():
        if all(module + n in own and own[module + n].shape == v.shape for n, v in values.items()):
            network.get_submodule(module.rstrip(".")).load_state_dict(values)
            loaded += 1
    return loaded


def save_for_reference(network: Network, path: Path) -> None:
    """Writes a network's state as the reference implementation's checkpoints have it.

    Raises:
        WeightsError: If the network is no ProxylessNAS, the only family of the reference.
        StorageError: If it cannot be written.
    """
    if not isinstance(network, ProxylessNAS):
        raise WeightsError(
            f"the reference has ProxylessNAS networks only, but got {type(network).__name__}; save "
            "its state_dict() instead"
        )
    state = {to_reference(name): value for name, value in network.state_dict().items()}
    write_tensors(path, {"state_dict": state})
