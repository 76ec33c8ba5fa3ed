import pytest
import torch

from tinytl.data.sources import rendered
from tinytl.data.sources.rendered import fonts, rendered_digits
from tinytl.errors import DataError


@pytest.fixture(scope="module")
def parts():
    return rendered_digits()


def test_sizes_and_classes(parts):
    assert parts.classes == tuple("0123456789")
    for images, count in ((parts.train, 6000), (parts.test, 1000)):
        assert images.pixels.shape == (count, 3, 32, 32)
        assert images.pixels.dtype == torch.uint8
        assert images.labels.bincount().tolist() == [count // 10] * 10


def test_the_same_digits_every_time(parts):
    global_state = torch.get_rng_state()
    rendered_digits.cache_clear()
    again = rendered_digits()
    assert torch.equal(again.train.pixels, parts.train.pixels)
    assert torch.equal(again.test.pixels, parts.test.pixels)
    assert torch.equal(torch.get_rng_state(), global_state)


def test_no_image_is_in_both_splits(parts):
    train = {image.numpy().tobytes() for image in parts.train.pixels}
    assert len(train) == 6000
    assert not train & {image.numpy().tobytes() for image in parts.test.pixels}


def test_fonts_have_digits_and_symbol_fonts_are_left_out():
    names = {path.stem for path in fonts()}
    assert {"DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmr10"} <= names
    assert not names & {"cmex10", "cmsy10", "LastResortHE-Regular", "STIXSizOneSymReg"}


def test_glyphs_of_a_font_differ_and_fill_the_middle():
    glyphs = rendered._glyphs()
    assert glyphs.shape == (len(fonts()), 10, 64, 64)
    for digits in glyphs:
        assert len({digit.numpy().tobytes() for digit in digits}) == 10
    rows, columns = (glyphs.amax(dim=dim) > 0.5 for dim in (3, 2))
    for inside in (rows, columns):
        first = inside.int().argmax(dim=2)
        last = 63 - inside.flip(2).int().argmax(dim=2)
        assert ((first + last - 63).abs() <= 2).all()  # centred
    height = rows.sum(dim=2)
    assert (height >= 43).all() and (height <= 45).all()


def test_a_digit_stands_out_in_every_image(parts):
    # The border is nearly always paper, so ink is what is far from the border's median colour.
    pixels = parts.train.pixels.float()
    border = torch.cat(
        [pixels[:, :, 0], pixels[:, :, -1], pixels[:, :, :, 0], pixels[:, :, :, -1]], 2
    )
    paper = border.median(dim=2).values[:, :, None, None]
    ink = (pixels - paper).abs().mean(dim=1) > 50
    share = ink.float().mean(dim=(1, 2))
    assert share.min() > 0.01 and share.max() < 0.6


def test_colours_differ_in_brightness():
    generator = torch.Generator().manual_seed(0)
    paper, ink = rendered._colours(*torch.rand(2, 5000, 3, generator=generator))
    for colour in (paper, ink):
        assert colour.min() >= 0 and colour.max() <= 1
    assert (ink - paper).mean(dim=1).abs().min() > 0.1


def test_without_fonts(monkeypatch):
    monkeypatch.setattr(rendered, "fonts", list)
    with pytest.raises(DataError, match="install matplotlib anew"):
        rendered._glyphs()
