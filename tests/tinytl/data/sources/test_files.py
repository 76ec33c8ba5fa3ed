import pickle
import stat
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from tinytl.data.sources.files import DEPTH, ZipFiles, open_files
from tinytl.errors import DataError

CONTENT = {
    "a/1.txt": b"one",
    "a/b/2.txt": b"two" * 1000,
    "0.txt": b"",
    ".hidden": b"x",
    ".git/x": b"x",
    "__MACOSX/a/1.txt": b"x",
    "a/.DS_Store": b"x",
}


def test_folder_and_zip_list_and_read_the_same(write):
    files = open_files(write("set", CONTENT))
    assert files.names == ("0.txt", "a/1.txt", "a/b/2.txt")
    assert files.folders == {"a", "a/b"}
    assert {name: files.read(name) for name in files.names} == {
        name: CONTENT[name] for name in files.names
    }


def test_empty_folders_are_listed(write):
    assert open_files(write("set", {"x/y/": b""})).folders == {"x", "x/y"}


def test_a_folder_is_listed_to_its_depth(write_folder):
    deepest = "/".join("abcdef"[: DEPTH - 1])
    files = open_files(write_folder("set", {f"{deepest}/1": b"", f"{deepest}/x/2": b""}))
    assert files.names == (f"{deepest}/1",)


def test_linked_class_folders_are_followed(write_folder):
    real = write_folder("real", {"1.txt": b"one"})
    linking = write_folder("linking", {})
    (linking / "a").symlink_to(real)
    assert open_files(linking).names == ("a/1.txt",)


def test_workers_read_the_archive_for_themselves(write_zip):
    files = open_files(write_zip("set", CONTENT))
    assert files.read("a/1.txt") == b"one"
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(files.read, "a/b/2.txt").result() == CONTENT["a/b/2.txt"]
    assert files.read("a/1.txt") == b"one"


def test_threads_may_share_an_archive(write_zip):
    content = {f"{n}.txt": bytes([n]) * 5000 for n in range(200)}
    files = open_files(write_zip("set", content))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(files.read, content)) == list(content.values())


def test_a_pickle_holds_no_open_file(write_zip):
    files = pickle.loads(pickle.dumps(open_files(write_zip("set", CONTENT))))
    assert isinstance(files, ZipFiles)
    assert files.read("a/1.txt") == b"one"


def test_nothing_is_extracted(write_zip, tmp_path):
    open_files(write_zip("set", {"../../outside.txt": b"x"})).read("../../outside.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [cut, lambda _: b"", lambda _: b"no archive"])
def test_a_damaged_archive(write_zip, damage):
    path = write_zip("set", CONTENT)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"set\.zip is not a whole zip archive .* another copy"):
        open_files(path)


def test_a_damaged_member(write_zip):
    path = write_zip("set", {"a/1.txt": bytes(range(256)) * 20})
    content = bytearray(path.read_bytes())
    content[60:70] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read a/1\.txt in .*set\.zip"):
        open_files(path).read("a/1.txt")


def test_an_encrypted_member(write_zip):
    path = write_zip("set", {"a/1.txt": b"one"})
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read a/1\.txt in .*encrypted"):
        open_files(path).read("a/1.txt")


def test_no_such_place(tmp_path):
    with pytest.raises(DataError, match=r"cannot open .*nowhere: No such file"):
        open_files(tmp_path / "nowhere")


def test_a_file_that_is_gone(write_folder):
    place = write_folder("set", {"a/1.txt": b"one"})
    files = open_files(place)
    (place / "a/1.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read .*a/1\.txt: No such file"):
        files.read("a/1.txt")


def test_a_folder_that_may_not_be_read(write_folder, monkeypatch):
    place = write_folder("set", {"a/1.txt": b"one"})
    (place / "a").chmod(0)
    try:
        next((place / "a").iterdir())
        pytest.skip("this user may read every folder")
    except PermissionError:
        with pytest.raises(DataError, match=r"cannot list .*set/a: Permission denied"):
            open_files(place)
    finally:
        (place / "a").chmod(stat.S_IRWXU)
