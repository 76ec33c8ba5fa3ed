"""Files written whole or not at all, with a disk that is really full."""

from pathlib import Path

import pytest

from tinytl.errors import StorageError
from tinytl.storage import write_atomically


@pytest.mark.parametrize("content", [b"\x00\xff", "Grüße", ""])
def test_what_is_written_is_read_and_nothing_else_is_left(
    content: bytes | str, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for _ in range(2):
        write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(small_disk: Path, small_disk_bytes: int) -> None:
    path = small_disk / "file"
    write_atomically(path, b"old")
    with pytest.raises(StorageError, match=r"cannot write .*No space left.*free some space"):
        write_atomically(path, bytes(small_disk_bytes))
    assert path.read_bytes() == b"old"
    assert list(small_disk.iterdir()) == [path]
