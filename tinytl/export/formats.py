"""The files that a network can be written as."""

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from tinytl.backbones import Network
from tinytl.errors import ConfigError, TinyTLError

_TOLERANCE = 1e-3  # of outputs, relative to the largest: more than rounding in deep networks


@dataclass(frozen=True)
class Format:
    """A way to write a network.

    Attributes:
        file: The file's name.
        content: Makes the file from a plain network and images, uint8 [2, 3, R, R].
    """

    file: str
    content: Callable[[Network, Tensor], bytes]


def difference(reference: Tensor, found: Tensor, what: str) -> float:
    """Returns the largest difference of two outputs.

    Raises:
        TinyTLError: If it is more than rounding.
    """
    largest = float((reference - found).abs().max())
    if not largest <= _TOLERANCE * max(1.0, float(reference.abs().max())):
        raise TinyTLError(
            f"{what} gives other outputs than the network that was trained, by {largest:.2g}; "
            "report this with the configuration"
        )
    return largest


def _state(network: Network, images: Tensor) -> bytes:
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    return content.getvalue()


def _torch_export(network: Network, images: Tensor) -> bytes:
    batch = torch.export.Dim("batch", min=1)
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    except Exception as error:  # its compiler raises nearly anything
        raise ConfigError(
            f"--format torch.export: it cannot follow this network: {_first_line(error)}"
        ) from None
    for part in (images, images[:1]):  # as it was traced, and as it was not
        difference(network(part), program.module()(part), "the program of torch.export")
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _onnx(network: Network, images: Tensor) -> bytes:
    try:
        import onnx  # noqa: F401  (what torch.onnx needs)
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--format onnx: needs the packages onnx and onnxscript: pip install onnx onnxscript"
        ) from None
    batch = torch.export.Dim("batch", min=1)
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                network,
                (images,),
                dynamic_shapes=({0: batch},),
                input_names=["images"],
                output_names=["logits"],
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ConfigError(
            f"--format onnx: it cannot follow this network: {_first_line(error)}"
        ) from None
    if program is None:
        raise ConfigError("--format onnx: torch.onnx returned no program; leave the format out")
    return program.model_proto.SerializeToString()


def _first_line(error: Exception) -> str:
    with suppress(IndexError):
        return str(error).strip().splitlines()[0]
    return type(error).__name__


# by the name in the option --format
FORMATS = {
    "state": Format("model.pt", _state),
    "torch.export": Format("model.pt2", _torch_export),
    "onnx": Format("model.onnx", _onnx),
}
