import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The reference files (weights, images, parity tensors), which lie beside the checkout."""
    beside = Path(__file__).parents[2] / "shared"
    path = Path(os.environ.get("TINYTL_SHARED", beside))
    if not path.is_dir():
        pytest.skip(f"needs the reference files: set TINYTL_SHARED to their folder (not in {path})")
    return path
