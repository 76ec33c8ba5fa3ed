"""Tiny archives in the exact shape of those that the datasets' makers published."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from tinytl.data.sources.catalogue import DATASETS, Counts, DatasetInfo
from tinytl.data.sources.cifar import CIFAR10, CIFAR100, BinaryRelease

Content = dict[str, bytes]
Archives = dict[str, Content | bytes]
"""What is in each archive; a file that is no archive is its own content."""


def jpeg(number: int) -> bytes:
    """A photo of one grey, which tells it from the others."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (number * 8 % 256,) * 3).save(buffer, "jpeg")
    return buffer.getvalue()


def jpegs(names: Sequence[str]) -> Content:
    return {name: jpeg(number) for number, name in enumerate(names)}


def mat(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, arrays)
    # its first 116 bytes are text, which names the time: two calls would differ
    return b"MATLAB 5.0 MAT-file".ljust(116) + buffer.getvalue()[116:]


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


# --- CIFAR ---

CIFAR_CLASSES = ("apple", "bear", "cloud")


def cifar_records(release: BinaryRelease, labels: list[int], seed: int) -> tuple[bytes, np.ndarray]:
    """One file's content, and its pixels [N, 3, 32, 32]; other labels than the last are 255."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
    others = b"\xff" * (release.label_bytes - 1)
    rows = zip(labels, pixels, strict=True)
    return b"".join(others + bytes([label]) + image.tobytes() for label, image in rows), pixels


def cifar(release: BinaryRelease) -> Archives:
    """Two images in each training file (labels 0, 1) and three in the test file."""
    content = {
        name: cifar_records(release, [0, 1], seed)[0] for seed, name in enumerate(release.train)
    }
    content[release.test] = cifar_records(release, [2, 1, 0], 99)[0]
    content[release.classes] = text(*CIFAR_CLASSES, "", "")
    content["readme.html"] = b""
    return {release.archive: {f"{release.folder}/{name}": data for name, data in content.items()}}


# --- photos ---


def flowers102() -> Archives:
    labels = [77, 1, 102, 50, 1, 77, 102, 50, 3, 3]
    ids = range(1, len(labels) + 1)
    return {
        "102flowers.tgz": jpegs([f"jpg/image_{number:05d}.jpg" for number in ids]),
        "imagelabels.mat": mat(labels=np.array([labels], np.uint8)),
        "setid.mat": mat(
            trnid=np.array([[9, 2, 3]], np.uint16),
            valid=np.array([[1, 8]], np.uint16),
            tstid=np.array([[10, 4, 5, 6, 7]], np.uint16),
        ),
    }


def aircraft() -> Archives:
    variants = ("707-320", "BAE 146-200", "Cessna 172", "F/A-18")
    splits = {"train": range(0, 4), "val": range(4, 8), "trainval": range(8), "test": range(8, 13)}
    lines = [f"{1000 + n:07d} {variants[n % 4]}" for n in range(13)]
    data = jpegs([f"images/{line.split()[0]}.jpg" for line in lines])
    for split, numbers in splits.items():
        data[f"images_variant_{split}.txt"] = text(*(lines[n] for n in numbers))
    data["variants.txt"] = text(*variants)
    data["families.txt"] = text("Boeing 707", "BAE 146", "Cessna 172", "F/A-18")
    content = {f"data/{name}": value for name, value in data.items()} | {"README": b"", "vl.m": b""}
    return {
        "fgvc-aircraft-2013b.tar.gz": {
            f"fgvc-aircraft-2013b/{name}": value for name, value in content.items()
        }
    }


def _cars_annotations(labels: Sequence[int], labelled: bool = True) -> bytes:
    boxes = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    names = (*boxes, "class", "fname") if labelled else (*boxes, "fname")
    rows = np.empty((1, len(labels)), [(name, object) for name in names])
    for index, label in enumerate(labels):
        for box in boxes:
            rows[0, index][box] = np.uint8([[1]])
        if labelled:
            rows[0, index]["class"] = np.uint8([[label]])
        rows[0, index]["fname"] = f"{index + 1:05d}.jpg"
    return mat(annotations=rows)


def cars() -> Archives:
    names = np.empty((1, 3), object)
    names[0, :] = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo 2012"]
    train, test = [3, 1, 2, 2, 1], [1, 2, 3, 3]
    return {
        "car_devkit.tgz": {
            "devkit/README.txt": b"",
            "devkit/cars_meta.mat": mat(class_names=names),
            "devkit/cars_train_annos.mat": _cars_annotations(train),
            "devkit/cars_test_annos.mat": _cars_annotations(test, labelled=False),
        },
        "cars_train.tgz": jpegs([f"cars_train/{n:05d}.jpg" for n in range(1, len(train) + 1)]),
        "cars_test.tgz": jpegs([f"cars_test/{n:05d}.jpg" for n in range(1, len(test) + 1)]),
        "cars_test_annos_withlabels.mat": _cars_annotations(test),
    }


def cub200() -> Archives:
    classes = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
    images = [f"{name}/{name[4:]}_{n:04d}_{n}.jpg" for name in classes for n in range(1, 5)]
    numbers = range(1, len(images) + 1)
    content = jpegs([f"images/{image}" for image in images]) | {
        "README": b"",
        "classes.txt": text(*(f"{n} {name}" for n, name in enumerate(classes, 1))),
        "images.txt": text(*(f"{n} {images[n - 1]}" for n in numbers)),
        "image_class_labels.txt": text(*(f"{n} {int(images[n - 1][:3])}" for n in numbers)),
        "train_test_split.txt": text(*(f"{n} {n % 2}" for n in numbers)),
        "parts/parts.txt": text("1 back"),
    }
    return {
        "CUB_200_2011.tgz": {f"CUB_200_2011/{name}": data for name, data in content.items()}
        | {"attributes.txt": text("1 has_bill_shape::curved_(up_or_down)")}
    }


def food101() -> Archives:
    classes = ("apple_pie", "baby_back_ribs", "waffles")
    train, test = (
        {name: [f"{name}/{first + n}" for n in range(count)] for name in classes}
        for first, count in ((1000, 3), (2000, 1))
    )
    content = jpegs([f"images/{i}.jpg" for s in (train, test) for v in s.values() for i in v])
    for part, images in (("train", train), ("test", test)):
        content[f"meta/{part}.json"] = json.dumps(images).encode()
        content[f"meta/{part}.txt"] = text(*(i for names in images.values() for i in names))
    content["meta/classes.txt"] = text(*classes)
    content["meta/labels.txt"] = text("Apple pie", "Baby back ribs", "Waffles")
    return {"food-101.tar.gz": {f"food-101/{name}": data for name, data in content.items()}}


def pets() -> Archives:
    classes = ("Abyssinian", "american_bulldog", "Bengal")
    trainval = [
        f"{name}_{n} {c} {1 + (c == 2)} 1" for c, name in enumerate(classes, 1) for n in (1, 20)
    ]
    test = [f"{name}_{n} {c} {1 + (c == 2)} 1" for c, name in enumerate(classes, 1) for n in (3,)]
    images = [row.split()[0] for row in (*trainval, *test)]
    return {
        "images.tar.gz": jpegs([f"images/{image}.jpg" for image in images])
        | {"images/Abyssinian_1.mat": b"x"},
        "annotations.tar.gz": {
            "annotations/README": b"",
            "annotations/list.txt": text("#Image CLASS-ID SPECIES BREED ID", *trainval, *test),
            "annotations/trainval.txt": text(*trainval),
            "annotations/test.txt": text(*test),
            "annotations/trimaps/Abyssinian_1.png": b"x",
            "annotations/xmls/Abyssinian_1.xml": b"x",
        },
    }


CELEBA_IMAGES = 20
CELEBA_PARTS = [0] * 10 + [1] * 4 + [2] * 6
CELEBA_ATTRIBUTES = np.random.default_rng(0).integers(0, 2, (CELEBA_IMAGES, 40))


def celeba() -> Archives:
    names = [f"{n:06d}.jpg" for n in range(1, CELEBA_IMAGES + 1)]
    rows = [
        f"{name} " + " ".join(f"{2 * value - 1:2d}" for value in values)
        for name, values in zip(names, CELEBA_ATTRIBUTES, strict=True)
    ]
    header = "".join(f"Attribute_{n} " for n in range(40))
    parts = (f"{name} {part}" for name, part in zip(names, CELEBA_PARTS, strict=True))
    return {
        "img_align_celeba.zip": jpegs([f"img_align_celeba/{name}" for name in names]),
        "list_attr_celeba.txt": text(str(CELEBA_IMAGES), header, *rows),
        "list_eval_partition.txt": text(*parts),
    }


RELEASES: dict[str, Callable[[], Archives]] = {
    "cifar10": lambda: cifar(CIFAR10),
    "cifar100": lambda: cifar(CIFAR100),
    "flowers102": flowers102,
    "aircraft": aircraft,
    "cars": cars,
    "cub200": cub200,
    "food101": food101,
    "pets": pets,
    "celeba": celeba,
}
COUNTS = {
    "cifar10": Counts(2, train=10, test=3),
    "cifar100": Counts(2, train=2, test=3),
    "flowers102": Counts(5, train=5, test=5),
    "aircraft": Counts(4, train=8, test=5),
    "cars": Counts(3, train=5, test=4),
    "cub200": Counts(3, train=6, test=6),
    "food101": Counts(3, train=9, test=3),
    "pets": Counts(3, train=6, test=3),
    "celeba": Counts(40, train=10, validation=4, test=6),
}


def tree(name: str) -> Content:
    """What lies in a dataset's folder when its archives are unpacked."""
    files: Content = {}
    for archive, content in RELEASES[name]().items():
        files |= {archive: content} if isinstance(content, bytes) else content
    return files


def pack(path: Path, content: Content | bytes) -> None:
    """Writes an archive of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def place_archives(name: str, root: Path) -> DatasetInfo:
    """Writes a dataset's archives below a root; returns what is true of this tiny dataset."""
    info = DATASETS[name]
    digests: Mapping[str, str] = {}
    for file, content in RELEASES[name]().items():
        path = root / name / file
        pack(path, content)
        digests = {**digests, file: f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"}
    archives = tuple(replace(a, digest=digests[a.file]) for a in info.archives)
    return replace(info, archives=archives, counts=COUNTS[name])
