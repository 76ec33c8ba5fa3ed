import pytest
import torch
from torchvision.transforms import v2

from tinytl.data.pipeline.resize import resize, shrink, with_short_side


def noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return pixels.permute(2, 0, 1)


@pytest.mark.parametrize("box", [(0, 0, 60, 80), (5, 9, 40, 31), (20, 3, 7, 70), (59, 79, 1, 1)])
@pytest.mark.parametrize("side", [8, 24, 64])
@pytest.mark.parametrize("contiguous", [True, False])
def test_a_resized_crop_is_torchvisions(box, side, contiguous):
    image = noise(60, 80).contiguous() if contiguous else noise(60, 80)
    top, left, height, width = box
    found = resize(image[:, top : top + height, left : left + width], side, side)
    assert found.dtype == torch.uint8
    expected = v2.functional.resized_crop(image.contiguous(), *box, [side, side], antialias=True)
    assert torch.equal(found, expected)


def test_where_integers_are_not_resized_the_result_differs_by_one_at_most():
    image = noise(60, 80)
    floats = torch.nn.functional.interpolate(
        image[None].float(), (24, 24), mode="bilinear", antialias=True
    )
    difference = resize(image, 24, 24).float() - floats[0].round()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (61, 97), (64, 64)])
@pytest.mark.parametrize("side", [16, 33, 60, 100])
def test_the_short_side_is_torchvisions(height, width, side):
    expected = v2.functional.resize(noise(height, width), [side], antialias=True).shape[1:]
    assert with_short_side(height, width, side) == tuple(expected)


def test_images_are_shrunk_and_never_enlarged():
    image = noise(60, 80)
    assert shrink(image, 30).shape == (3, 30, 40)
    assert shrink(image, 60) is image
    assert shrink(image, 100) is image
