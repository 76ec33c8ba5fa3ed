from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from tinytl.data import DATASETS, evaluation_transform, training_transform

PLAIN = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
CIFAR = DATASETS["cifar10"]
CARS = DATASETS["cars"]


def noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (40, 70)])
def test_shapes_and_values(name, size):
    transforms = [
        training_transform(DATASETS[name], 24, crop_scale=None, **PLAIN),
        evaluation_transform(24, **PLAIN),
    ]
    for transform in transforms:
        image = transform(noise(*size))
        assert image.shape == (3, 24, 24)
        assert image.dtype == torch.float32
        assert image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("training", [True, False])
def test_normalization(training):
    mean, std = [0.5, 0.4, 0.3], [0.5, 0.25, 0.2]

    def apply(**numbers):
        torch.manual_seed(3)
        if training:
            return training_transform(CARS, 16, crop_scale=None, **numbers)(noise(30, 20))
        return evaluation_transform(16, **numbers)(noise(30, 20))

    plain = apply(**PLAIN)
    expected = (plain - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.allclose(apply(mean=mean, std=std), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 100), (100, 64)])
def test_evaluation_is_the_middle_of_the_resized_image(height, width):
    image = noise(height, width)
    found = evaluation_transform(28, **PLAIN)(image)  # 28 / 0.875 = 32 on the short side
    size = (int(32 * height / min(height, width)), int(32 * width / min(height, width)))
    resized = interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    top, left = (round((side - 28) / 2) for side in size)
    expected = resized[:, top : top + 28, left : left + 28] / 255
    assert torch.allclose(found, expected, atol=1.5 / 255)


def test_the_global_seed_decides_the_training_image():
    transform = training_transform(CARS, 16, crop_scale=None, **PLAIN)

    def after(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack([transform(noise(20, 20)) for _ in range(4)])

    assert torch.equal(after(1), after(1))
    assert not torch.equal(after(1), after(2))


def crop_areas(info, crop_scale) -> torch.Tensor:
    """Areas of 300 crops of a ramp that tells how wide each crop was."""
    size = 100
    ramp = torch.arange(size, dtype=torch.uint8)
    image = torch.stack(
        [ramp.expand(size, size), ramp[:, None].expand(size, size), ramp.expand(size, size)]
    )
    transform = training_transform(info, size, crop_scale=crop_scale, **PLAIN)
    torch.manual_seed(0)
    crops = torch.stack([transform(image) for _ in range(300)]) * 255
    width = (crops[:, 0].amax(dim=(1, 2)) - crops[:, 0].amin(dim=(1, 2)) + 1) / size
    height = (crops[:, 1].amax(dim=(1, 2)) - crops[:, 1].amin(dim=(1, 2)) + 1) / size
    return width * height


@pytest.mark.parametrize(
    ("info", "crop_scale", "smallest"),
    [(CIFAR, None, 0.22), (DATASETS["digits"], None, 0.6), (CIFAR, 0.5, 0.5), (CIFAR, 1.0, 1.0)],
)
def test_crops_are_no_smaller_than_their_scale(info, crop_scale, smallest):
    areas = crop_areas(info, crop_scale)
    assert smallest - 0.04 < areas.min() < smallest + 0.1


@pytest.mark.parametrize("name", DATASETS)
def test_only_what_may_be_mirrored_is(name):
    ramp = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64)
    info = replace(DATASETS[name], colour_jitter=None)
    transform = training_transform(info, 32, crop_scale=None, **PLAIN)
    torch.manual_seed(0)
    crops = [transform(ramp) for _ in range(200)]
    mirrored = sum(bool(crop[0, 0, 0] > crop[0, 0, -1]) for crop in crops)
    assert (60 < mirrored < 140) if info.flip else mirrored == 0
    assert info.flip == ("digits" not in name)


def test_colour_jitter_changes_colours():
    grey = torch.full((3, 20, 20), 120, dtype=torch.uint8)

    def distinct(info) -> int:
        transform = training_transform(info, 16, crop_scale=None, **PLAIN)
        return len({round(float(transform(grey).mean()), 4) for _ in range(20)})

    assert distinct(CIFAR) == 1
    assert distinct(CARS) > 10
