"""Numbers that Linux tells in files."""

import re
from pathlib import Path


def kernel_number(path: Path, name: str) -> int:
    """Returns the number behind a name in one of the kernel's files; 0 where it has none."""
    found = re.search(rf"^{name}:?\s+(\d+)", path.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
