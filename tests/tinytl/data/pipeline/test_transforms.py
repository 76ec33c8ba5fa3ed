from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from tinytl.data import DATASETS, EvaluationTransform, training_transform

CIFAR = DATASETS["cifar10"]
CARS = DATASETS["cars"]


def noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def training(info, resolution: int, count: int = 4, *, seed: int = 0, crop_scale=None):
    generator = torch.Generator().manual_seed(seed)
    return training_transform(
        info,
        resolution,
        count=count,
        generator=generator,
        crop_scale=crop_scale,
    )


def inputs_of(transform, image: torch.Tensor, numbers) -> torch.Tensor:
    numbers = torch.as_tensor(numbers)
    crops = [transform.crop(image, number) for number in numbers.tolist()]
    size = len(numbers), 3, transform.resolution, transform.resolution
    inputs = torch.empty(size, dtype=torch.uint8)
    transform.fill(inputs, crops, numbers)
    return inputs / 255


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (40, 70)])
def test_shapes_and_values(name, size):
    for transform in (training(DATASETS[name], 24), EvaluationTransform(24)):
        inputs = inputs_of(transform, noise(*size), [0, 3])
        assert inputs.shape == (2, 3, 24, 24)
        assert inputs.min() >= 0 and inputs.max() <= 1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 100), (100, 64)])
def test_evaluation_is_the_middle_of_the_resized_image(height, width):
    image = noise(height, width)
    (found,) = inputs_of(EvaluationTransform(28), image, [0])  # 28 / 0.875 = 32
    size = (int(32 * height / min(height, width)), int(32 * width / min(height, width)))
    resized = interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    top, left = (round((side - 28) / 2) for side in size)
    expected = resized[:, top : top + 28, left : left + 28] / 255
    assert torch.allclose(found, expected, atol=1.5 / 255)


@pytest.mark.parametrize("resolution", [8, 28, 33])
@pytest.mark.parametrize(("height", "width"), [(64, 100), (101, 64), (20, 21)])
def test_evaluation_is_torchvisions(resolution, height, width):
    image = noise(height, width)
    theirs = v2.Compose(
        [
            v2.Resize(int(resolution / 0.875), antialias=True),
            v2.CenterCrop(resolution),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    (found,) = inputs_of(EvaluationTransform(resolution), image, [0])
    assert torch.allclose(found, theirs(image), atol=1e-6)


def test_a_training_input_is_the_resized_box_mirrored_or_not():
    transform = training(CIFAR, 16, 40)
    image = noise(50, 60)
    found = inputs_of(transform, image, range(40))
    for number in range(40):
        box = transform.crops.box(number, 50, 60)
        expected = v2.functional.resized_crop(image, *box, [16, 16], antialias=True) / 255
        if transform.flips[number]:
            expected = expected.flip(-1)
        assert torch.allclose(found[number], expected, atol=1e-6)
    assert 10 < transform.flips.sum() < 30


def test_an_input_depends_on_its_number_and_the_seed_and_on_nothing_else():
    image = noise(20, 20)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    together = inputs_of(training(CARS, 16, 10), image, range(10))
    assert torch.equal(torch.get_rng_state(), before)
    alone = [inputs_of(training(CARS, 16, 10), image, [number]) for number in range(10)]
    assert torch.equal(together, torch.cat(alone))
    assert len({float(i.sum()) for i in together}) == 10
    assert not torch.equal(together, inputs_of(training(CARS, 16, 10, seed=1), image, range(10)))


@pytest.mark.parametrize(
    ("info", "crop_scale", "smallest"),
    [(CIFAR, None, 0.22), (DATASETS["digits"], None, 0.6), (CIFAR, 0.5, 0.5), (CIFAR, 1.0, 1.0)],
)
def test_crops_are_no_smaller_than_their_scale(info, crop_scale, smallest):
    transform = training(info, 8, 300, crop_scale=crop_scale)
    crops = [transform.crop(noise(100, 100), number) for number in range(300)]
    areas = [crop.shape[1] * crop.shape[2] / 100**2 for crop in crops]
    assert smallest - 0.01 < min(areas) < smallest + 0.1


@pytest.mark.parametrize("name", DATASETS)
def test_only_what_may_be_mirrored_is(name):
    ramp = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64)
    info = replace(DATASETS[name], colour_jitter=None)
    inputs = inputs_of(training(info, 32, 200), ramp, range(200))
    mirrored = int((inputs[:, 0, 0, 0] > inputs[:, 0, 0, -1]).sum())
    assert (60 < mirrored < 140) if info.flip else mirrored == 0
    assert info.flip == ("digits" not in name)


def test_colour_jitter_changes_colours():
    grey = torch.full((3, 20, 20), 120, dtype=torch.uint8)

    def distinct(info) -> int:
        inputs = inputs_of(training(info, 16, 20), grey, range(20))
        return len({round(float(image.mean()), 4) for image in inputs})

    assert distinct(CIFAR) == 1
    assert distinct(CARS) > 10
