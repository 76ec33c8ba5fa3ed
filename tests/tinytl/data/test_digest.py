"""A dataset's digest changes with its content, and with nothing else."""

import pytest
import torch

from tinytl.data import Splits, dataset_digest, load_splits
from tinytl.data.images import ArrayImages
from tinytl.errors import DataError


def in_memory(pixels: torch.Tensor, labels: torch.Tensor, classes=("a", "b")) -> Splits:
    images = ArrayImages(pixels, labels)
    return Splits("x", classes, images, None, images)


PIXELS, LABELS = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (in_memory(PIXELS.clone(), LABELS.clone()), True),
        (in_memory(PIXELS + 1, LABELS), False),
        (in_memory(PIXELS, 1 - LABELS), False),
        (in_memory(PIXELS, LABELS, ("a", "c")), False),
    ],
)
def test_images_in_memory_count_with_pixels_labels_and_classes(other, same) -> None:
    assert (dataset_digest(other) == dataset_digest(in_memory(PIXELS, LABELS))) == same


def test_what_is_held_out_changes_nothing() -> None:
    digests = {dataset_digest(load_splits("digits", None, validation=v)) for v in (0, 0.1, 0.5)}
    assert len(digests) == 1


def test_files_count_with_name_size_and_class_wherever_they_lie(
    class_folders, write_folder, write_zip
) -> None:
    files = class_folders(cat=5, dog=5)
    name = sorted(files)[0]
    digests = {
        what: dataset_digest(load_splits(what, write(what, content).parent, validation=0.2))
        for what, (write, content) in {
            "folder": (write_folder, files),
            "zip": (write_zip, files),
            "longer": (write_folder, {**files, name: files[name] + b" "}),
            "fewer": (write_folder, {key: files[key] for key in files if key != name}),
        }.items()
    }
    assert digests["folder"] == digests["zip"]
    assert len(set(digests.values())) == 3


def test_files_that_are_gone_are_told(class_folders, write_folder) -> None:
    folder = write_folder("gone", class_folders(cat=5, dog=5))
    splits = load_splits("gone", folder.parent, validation=0.2)
    next(folder.rglob("*.png")).unlink()
    with pytest.raises(DataError, match="bring its files back"):
        dataset_digest(splits)
