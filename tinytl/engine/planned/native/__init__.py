"""Slabs computed in C++: compiled once on each machine, where there is a compiler."""

import functools
import hashlib
import os
import platform
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from tinytl.errors import StorageError
from tinytl.storage import cache_directory, locked

_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-march=native", "-fopenmp")


@functools.cache
def operators() -> Any:
    """Returns the compiled operators; None, with a warning, where they cannot be had.

    `TINYTL_NATIVE=0` does without them.
    """
    choice = os.environ.get("TINYTL_NATIVE", "1")
    if choice == "0":
        return None
    try:
        torch.ops.load_library(_library())
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError, StorageError) as error:
        reason = str(error).strip().splitlines()[-1]
        warnings.warn(
            f"the C++ operators of execution: planned could not be built ({reason}); PyTorch's own "
            "are used, which takes longer. They need a C++ compiler (Debian: apt install g++); "
            "TINYTL_NATIVE=0 silences this",
            stacklevel=2,
        )
        return None
    return torch.ops.tinytl


def _library() -> Path:
    """Returns the compiled library, which is built if this machine has none of these sources."""
    library = cache_directory() / "native" / _key() / "tinytl_native.so"
    with locked(library):  # a lock that ends with its process
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=library.parent) as folder:
                _compile(Path(folder)).replace(library)
    return library


def _key() -> str:
    """Returns what the compiled library depends on, as a name."""
    content = hashlib.sha256()
    for source in sorted(_SOURCES.glob("*.[ch]*")):
        content.update(source.read_bytes())
    for part in (torch.__version__, platform.machine(), _processor(), *_FLAGS):
        content.update(part.encode())
    return content.hexdigest()[:16]


def _processor() -> str:
    """Returns the instructions that the processor has, for one cache may serve several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _compile(folder: Path) -> Path:
    from torch.utils import cpp_extension  # slow, and talks about CUDA

    cpp_extension.load(
        name="tinytl_native",
        sources=[str(_SOURCES / "branch.cpp")],
        extra_cflags=list(_FLAGS),
        extra_ldflags=["-fopenmp"],
        build_directory=str(folder),
        is_python_module=False,
    )
    (library,) = folder.glob("*.so")  # which a second build in one process gives another name
    return library
