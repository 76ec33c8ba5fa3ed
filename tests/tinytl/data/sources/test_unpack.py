import io
import os
import signal
import tarfile
import zipfile
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.official import pack
from tinytl.data.sources.unpack import unpack
from tinytl.errors import DataError, StorageError

CONTENT = {
    "images/a/1.txt": bytes(range(256)) * 40,
    "images/b/2.txt": b"two",
    "images/3.txt": b"",
    "attributes.txt": b"left out",
}
KINDS = ["set.tgz", "set.tar.gz", "set.zip"]


def beside(archive: Path) -> set[str]:
    names = {path.name for path in archive.parent.iterdir()}
    return names - {archive.name, f"{archive.name}.lock"}


@pytest.fixture(params=KINDS)
def archive(request, tmp_path) -> Path:
    path = tmp_path / "data" / request.param
    pack(path, CONTENT)
    return path


def test_the_folder_lies_beside_its_archive(archive):
    told = []
    unpack(archive, "images", lambda done, total: told.append((done, total)))
    assert beside(archive) == {"images"}
    for name, data in CONTENT.items():
        if name.startswith("images/"):
            assert (archive.parent / name).read_bytes() == data
    assert told == sorted(told)
    assert {total for _, total in told} == {archive.stat().st_size}
    assert told[-1][0] <= archive.stat().st_size


@pytest.mark.parametrize("part", [0, 0.3, 0.6, 0.95])
def test_a_cut_archive(archive, part):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=rf"cannot unpack .*{archive.name}: .*another copy"):
        unpack(archive, "images")
    assert beside(archive) == set()


def test_a_damaged_archive(archive):
    content = bytearray(archive.read_bytes())
    content[60:75] = b"\xff" * 15
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot unpack"):
        unpack(archive, "images")
    assert beside(archive) == set()


@pytest.mark.parametrize("member", ["images/" + "n" * 300, "images/1.txt/2.txt"])
def test_what_cannot_be_a_file_is_damage(member, tmp_path):
    archive = tmp_path / "data" / "set.tgz"
    pack(archive, {"images/1.txt": b"one", member: b"two"})
    with pytest.raises(DataError, match=r"cannot unpack .*set\.tgz: .*; remove it and get another"):
        unpack(archive, "images")
    assert beside(archive) == set()


def test_a_place_before_the_beginning_is_damage(tmp_path):
    archive = tmp_path / "data" / "set.zip"
    pack(archive, {"images/1.txt": b"one"})
    content = bytearray(archive.read_bytes())
    end = content.index(b"PK\x05\x06")
    content[end + 16 : end + 20] = (2**31).to_bytes(4, "little")  # where the directory begins
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot unpack"):
        unpack(archive, "images")


def test_an_archive_that_cannot_be_read(tmp_path):
    archive = tmp_path / "data" / "set.zip"
    archive.mkdir(parents=True)  # the superuser may read every file, but no folder as one
    with pytest.raises(DataError, match=r"cannot read .*set\.zip: Is a directory; correct"):
        unpack(archive, "images")


def test_another_archive_under_this_name(archive):
    with pytest.raises(DataError, match=r"must hold jpg/, but holds attributes\.txt, images;"):
        unpack(archive, "jpg")
    assert beside(archive) == set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../outside.txt", "images/../../outside.txt", "/tmp/tinytl-out"])
def test_nothing_lands_outside(kind, name, tmp_path):
    archive = tmp_path / "data" / kind
    pack(archive, {"images/1.txt": b"1", name: b"x"})
    if name.startswith("/") and kind != "set.zip":
        unpack(archive, "images")  # the slash is taken off
    else:
        with pytest.raises(DataError, match="outside"):
            unpack(archive, "images")
        assert beside(archive) == set()
    assert not (tmp_path / "outside.txt").exists()
    assert not Path("/tmp/tinytl-out").exists()


@pytest.mark.parametrize("target", ["/etc", "../.."])
def test_no_link_leads_outside(target, tmp_path):
    archive = tmp_path / "data" / "set.tgz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("images/link")
        link.type, link.linkname = tarfile.SYMTYPE, target
        tar.addfile(link)
    with pytest.raises(DataError, match="link"):
        unpack(archive, "images")
    assert beside(archive) == set()


def test_an_encrypted_member(tmp_path):
    archive = tmp_path / "data" / "set.zip"
    pack(archive, {"images/1.txt": b"one"})
    content = bytearray(archive.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        unpack(archive, "images")


def die(done: int, total: int | None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_unpacking_leaves_no_folder_and_is_done_anew(archive):
    process = get_context("fork").Process(target=unpack, args=(archive, "images", die))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert beside(archive) == {f".{archive.name}.partial"}
    unpack(archive, "images")
    assert beside(archive) == {"images"}
    assert (archive.parent / "images/b/2.txt").read_bytes() == b"two"


def test_processes_that_start_at_once_unpack_once(archive):
    context = get_context("fork")
    begun, go_on = context.Event(), context.Event()

    def hold(done, total):
        begun.set()
        go_on.wait(10)

    first = context.Process(target=unpack, args=(archive, "images", hold))
    second = context.Process(target=unpack, args=(archive, "images", die))
    first.start()
    assert begun.wait(10)
    second.start()
    second.join(0.3)
    assert second.is_alive()  # it waits for the first
    go_on.set()
    for process in (first, second):
        process.join(10)
        assert process.exitcode == 0
    assert (archive.parent / "images/b/2.txt").read_bytes() == b"two"


@pytest.fixture
def small_disk_bytes() -> int:
    return 2**20


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk(kind, small_disk):
    archive = small_disk / kind
    buffer = io.BytesIO(b"\0" * 2**22)
    if kind == "set.zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("images/1.bin", buffer.getvalue())
    else:
        pack(archive, {"images/1.bin": buffer.getvalue()})
    with pytest.raises(StorageError, match=r"cannot write .*images: No space left"):
        unpack(archive, "images")
    assert beside(archive) == set()
