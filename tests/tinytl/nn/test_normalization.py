import torch
from torchvision.transforms import v2

from tinytl.nn.normalization import InputNormalization

MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)


def test_bytes_become_what_torchvision_makes_of_them():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    expected = v2.functional.normalize(images.double() / 255, MEAN, STD)
    found = InputNormalization(MEAN, STD).double()(images)
    assert torch.allclose(found, expected, rtol=1e-6)
    assert found.dtype == torch.float64


def test_floats_are_normalized_already_and_nothing_is_in_the_state():
    layer = InputNormalization(MEAN, STD)
    images = torch.randn(1, 3, 4, 4)
    assert layer(images) is images
    assert not layer.state_dict()
