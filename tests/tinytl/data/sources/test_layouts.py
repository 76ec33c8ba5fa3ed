"""The official layouts, against torchvision's readers of the same tree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import datasets as theirs

from tests.official import CELEBA_ATTRIBUTES, CELEBA_IMAGES, CELEBA_PARTS, RELEASES, jpeg, mat
from tests.official import text as lines
from tests.official import tree as tree_of
from tinytl.data import DATASETS, load_splits
from tinytl.data.images import Parts
from tinytl.data.sources.files import open_files
from tinytl.data.sources.folder import FileImages, decode
from tinytl.errors import DataError

LAYOUTS = [name for name in RELEASES if "cifar" not in name]
Sample = tuple[str, Any]


def read(name: str, place: Path) -> Parts:
    return DATASETS[name].read(open_files(place))


def samples(images: FileImages) -> list[Sample]:
    return sorted(zip(images.names, images.labels.tolist(), strict=True))


# --- the same as torchvision reads ---


def flowers102(root: Path, *splits: str) -> list[Sample]:
    sets = [theirs.Flowers102(root, split) for split in splits]
    return [(str(f), n) for s in sets for f, n in zip(s._image_files, s._labels, strict=True)]


def files_and_labels(kind: Callable[..., Any]) -> Callable[..., list[Sample]]:
    def found(root: Path, split: str) -> list[Sample]:
        data = kind(root, split)
        files = data._images if kind is theirs.OxfordIIITPet else data._image_files
        return [(str(file), n) for file, n in zip(files, data._labels, strict=True)]

    return found


def cars(root: Path, split: str) -> list[Sample]:
    return [(file, int(label)) for file, label in theirs.StanfordCars(root, split)._samples]


def celeba(root: Path, split: str) -> list[Sample]:
    data = theirs.CelebA(root, split)
    files = [f"{root}/celeba/img_align_celeba/{name}" for name in data.filename]
    return list(zip(files, data.attr.tolist(), strict=True))


# the folder that torchvision expects, its reader, and its names of the three splits
THEIRS: dict[str, tuple[str, Callable[..., list[Sample]], Any, Any, Any]] = {
    "flowers102": ("flowers-102", flowers102, ("train", "val"), None, ("test",)),
    "aircraft": ("", files_and_labels(theirs.FGVCAircraft), ("trainval",), None, ("test",)),
    "cars": ("stanford_cars", cars, ("train",), None, ("test",)),
    "food101": ("", files_and_labels(theirs.Food101), ("train",), None, ("test",)),
    "pets": (
        "oxford-iiit-pet",
        files_and_labels(theirs.OxfordIIITPet),
        ("trainval",),
        None,
        ("test",),
    ),
    "celeba": ("celeba", celeba, ("train",), ("valid",), ("test",)),
}


@pytest.mark.parametrize("name", THEIRS)
def test_images_and_labels_are_those_of_torchvision(name, write_folder, tmp_path, monkeypatch):
    folder, found, *splits = THEIRS[name]
    for kind in (theirs.Flowers102, theirs.CelebA):  # digests of the whole release
        monkeypatch.setattr(kind, "_check_integrity", lambda _: True)
    content = tree_of(name)
    if name == "celeba":
        numbers = [f"{n:06d}.jpg 0" for n in range(1, CELEBA_IMAGES + 1)]
        content["identity_CelebA.txt"] = lines(*numbers)
        for other in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
            content[other] = lines(str(CELEBA_IMAGES), "x", *numbers)
    write_folder(f"data/{folder}", content)
    root = tmp_path / "data"
    parts = read(name, root)
    for ours, split in zip((parts.train, parts.validation, parts.test), splits, strict=True):
        assert (ours is None) == (split is None)
        if ours is not None:
            expected = [(str(Path(f).relative_to(root)), n) for f, n in found(root, *split)]
            assert samples(ours) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aircraft", theirs.FGVCAircraft),
        ("cars", theirs.StanfordCars),
        ("food101", theirs.Food101),
    ],
)
def test_classes_are_those_of_torchvision(name, kind, write_folder, tmp_path):
    write_folder(f"data/{THEIRS[name][0]}", tree_of(name))
    root = tmp_path / "data"
    assert read(name, root).classes == tuple(kind(root, "test").classes)


# --- the same as the generators wrote ---


def test_cub200_labels_are_the_numbers_in_its_folders(write):
    parts = read("cub200", write("data", tree_of("cub200")))
    assert parts.classes[0] == "001.Black_footed_Albatross"
    for images in (parts.train, parts.test):
        assert images.labels.tolist() == [int(n.split("/")[-2][:3]) - 1 for n in images.names]
    assert not set(parts.train.names) & set(parts.test.names)


def test_celeba_is_multi_label_with_a_validation_split(write):
    root = write("celeba", tree_of("celeba"))
    for validation, sizes in ((0.1, (10, 4, 6)), (0, (14, 0, 6))):
        splits = load_splits("celeba", root, validation=validation)
        held = splits.validation
        assert (len(splits.train), len(held) if held else 0, len(splits.test)) == sizes
    table = torch.tensor(CELEBA_ATTRIBUTES)
    assert splits.train.labels.dtype == torch.uint8
    for labels, wanted in ((splits.train.labels, {0, 1}), (splits.test.labels, {2})):
        chosen = [index for index, part in enumerate(CELEBA_PARTS) if part in wanted]
        assert torch.equal(labels, table[chosen].to(torch.uint8))
    few = load_splits("celeba", root, validation=0.1, train_images=5, eval_images=3)
    assert (few.train.labels.shape, few.test.labels.shape) == ((5, 40), (3, 40))


# --- where they are found ---


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("base", ["", "wrapping/"])
def test_folder_and_zip_wrapped_or_not(name, base, write_folder, write_zip):
    content = {f"{base}{file}": data for file, data in tree_of(name).items()}
    folder, archive = (read(name, write("data", content)) for write in (write_folder, write_zip))
    assert folder.classes == archive.classes
    for ours, others in ((folder.train, archive.train), (folder.test, archive.test)):
        assert samples(ours) == samples(others)
        index = len(ours) - 1
        assert torch.equal(ours.image(index), others.image(index))
        assert torch.equal(ours.image(index), decode(content[ours.names[index]]))


@pytest.mark.parametrize("name", LAYOUTS)
def test_class_folders_are_read_too(name, write, class_folders):
    content = class_folders("train/", a=2, b=2) | class_folders("test/", a=1, b=1)
    place = write("data", content | {"classes.txt": b"a\nb\n"})
    if name == "celeba":
        with pytest.raises(DataError, match="40 attributes, which class folders cannot tell"):
            read(name, place)
    else:
        assert len(read(name, place).train) == 4


@pytest.mark.parametrize(("name", "folder"), [(n, f) for n in LAYOUTS for f in DATASETS[n].folders])
def test_the_folders_of_torchvision_are_found(name, folder, write_folder, tmp_path):
    content = tree_of(name)
    if all(file.startswith(f"{folder}/") for file in content):
        write_folder("data", content)
    else:
        write_folder(f"data/{folder}", content)
    assert len(load_splits(name, tmp_path / "data", validation=0).train) > 0


def test_cars_in_the_nested_folders_of_copies(write):
    content = {
        file.replace("cars_train/", "cars_train/cars_train/"): data
        for file, data in tree_of("cars").items()
    }
    parts = read("cars", write("data", content))
    assert parts.train.names[0] == "cars_train/cars_train/00001.jpg"
    assert parts.test.names[0] == "cars_test/00001.jpg"


def test_an_archive_that_is_not_unpacked_yet(write_folder, tmp_path):
    write_folder("data/cars", {"cars_train.tgz": b"x", "car_devkit.tgz": b"x"})
    with pytest.raises(DataError, match=r"holds car_devkit\.tgz, .*not unpacked.*data fetch cars"):
        load_splits("cars", tmp_path / "data", validation=0)


@pytest.mark.parametrize(
    "left", [{}, {"CUB_200_2011.tgz.lock": b"", "CUB_200_2011.tgz.partial": b"x"}]
)
def test_a_folder_without_the_dataset_says_how_to_get_it(left, write_folder, tmp_path):
    (tmp_path / "data/cub200").mkdir(parents=True)
    write_folder("data/cub200", left)
    with pytest.raises(DataError, match=r"holds nothing of cub200: .*data fetch cub200"):
        load_splits("cub200", tmp_path / "data", validation=0)


# --- damaged ---

AIRCRAFT = "fgvc-aircraft-2013b/data"
FOOD = "food-101"
CUB = "CUB_200_2011"
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
HEADER = " ".join(f"A{n}" for n in range(40))
DAMAGED = [
    ("flowers102", "setid.mat", None, r"lacks setid\.mat of the official release"),
    ("flowers102", "setid.mat", b"MATLAB 5.0 MAT-file", r"setid\.mat in .* is damaged"),
    ("flowers102", "setid.mat", b"", r"setid\.mat in .* is damaged"),
    ("flowers102", "setid.mat", mat(trnid=[1], valid=[2]), r"it has no 'tstid'"),
    ("flowers102", "setid.mat", mat(trnid=[1], valid=[2], tstid=[0]), "image 0 has no label"),
    ("flowers102", "setid.mat", mat(trnid=[1], valid=[2], tstid=[11]), "image 11 has no label"),
    ("flowers102", "imagelabels.mat", mat(labels=[103] * 10), "label 103, but there are 102"),
    ("flowers102", "imagelabels.mat", mat(labels=["a"] * 10), "invalid literal"),
    ("flowers102", "imagelabels.mat", mat(labels=[0] * 10), "label 0, but there are 102"),
    ("flowers102", "jpg/image_00005.jpg", None, r"lacks 1 of the 5 images that setid\.mat lists"),
    ("aircraft", f"{AIRCRAFT}/variants.txt", b"", r"variants\.txt in .* is damaged: it is empty"),
    ("aircraft", f"{AIRCRAFT}/variants.txt", b"707-320\n", "'BAE 146-200' is no variant"),
    ("aircraft", f"{AIRCRAFT}/images_variant_test.txt", b"1\n", r"must have 2 columns, .*\['1'\]"),
    ("aircraft", f"{AIRCRAFT}/images/0001012.jpg", None, r"first of them .*/images/0001012\.jpg"),
    ("cars", "devkit/cars_meta.mat", None, r"lacks devkit/cars_meta\.mat"),
    ("cars", "devkit/cars_train_annos.mat", mat(annotations=[1]), "no file names with classes"),
    ("cars", "devkit/cars_meta.mat", mat(class_names=["a"]), "label 3, but there are 1"),
    ("cub200", f"{CUB}/image_class_labels.txt", b"1 1\n", "says nothing of image 2, 001"),
    ("cub200", f"{CUB}/train_test_split.txt", None, r"lacks CUB_200_2011/train_test_split\.txt"),
    ("cub200", f"{CUB}/classes.txt", None, r"lacks CUB_200_2011/classes\.txt"),
    ("cub200", f"{CUB}/classes.txt", b"1 a\n", "label 2, but there are 1"),
    ("food101", f"{FOOD}/meta/train.txt", b"soup/1\n", "'soup' is no class"),
    ("food101", f"{FOOD}/meta/test.txt", b"\n", "it is empty"),
    ("pets", "annotations/trainval.txt", b"a_1 1 1 1\nb_1 3 1 1\n", r"from 1 on, but are \[1, 3\]"),
    ("pets", "annotations/trainval.txt", b"a_1 one 1 1\n", "invalid literal"),
    ("pets", "annotations/test.txt", b"Bengal_3 4 1 1\n", "label 4, but there are 3"),
    ("celeba", ATTRIBUTES, b"20\nA B\n", "must have 20 images, but has 0"),
    ("celeba", ATTRIBUTES, b"1\nA B\n000001.jpg 1\n", "2 attributes, each -1 or 1"),
    ("celeba", ATTRIBUTES, b"1\nA B\n000001.jpg 1 2\n", "2 attributes, each -1 or 1"),
    ("celeba", PARTITION, b"000001.jpg 0\n", r"000002\.jpg must be in part 0, 1 or 2"),
    ("celeba", PARTITION, b"000001.jpg 7\n", r"000001\.jpg must be in part 0, 1 or 2"),
    ("celeba", "img_align_celeba/000001.jpg", None, "lacks 1 of the 10 images"),
]


@pytest.mark.parametrize(("name", "file", "data", "problem"), DAMAGED)
def test_a_damaged_release(name, file, data, problem, write):
    content = tree_of(name)
    assert file in content
    del content[file]
    if data is not None:
        content[file] = data
    with pytest.raises(DataError, match=problem):
        read(name, write("data", content))


@pytest.mark.parametrize("part", [0.1, 0.4, 0.7, 0.95])
@pytest.mark.parametrize("file", ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat"])
def test_a_cut_matlab_file(part, file, write_folder):
    content = tree_of("cars")
    content[file] = content[file][: int(part * len(content[file]))]
    with pytest.raises(DataError, match="is damaged"):
        read("cars", write_folder("data", content))


def test_an_image_is_that_of_its_file(write_folder):
    parts = read("pets", write_folder("data", tree_of("pets")))
    assert torch.equal(parts.train.image(2), decode(jpeg(2)))
