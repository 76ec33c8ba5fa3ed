"""The source of the built-in task: digits rendered from the fonts that ship inside matplotlib.

Each image is one glyph, moved by a random affine map, in a random colour on a random colour, with
noise. The strokes are clean and coloured where `digits` are blurred and grey, so a backbone that
was trained here has something left to learn there.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tinytl.data.images import ArrayImages, Parts
from tinytl.errors import DataError

CLASSES = tuple("0123456789")
GLYPH_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAIN_IMAGES = 6000
TEST_IMAGES = 1000
SIZE = 32
"""Side of an image in pixels."""

_GLYPH_SIZE = 64
_SEED = 0


@lru_cache(maxsize=1)
def rendered_digits() -> Parts:
    """Renders the digits, the same ones every time for the same fonts.

    Raises:
        DataError: If the installed matplotlib has no font with digits.
    """
    glyphs = _glyphs()
    generator = torch.Generator().manual_seed(_SEED)
    train = _render(glyphs, TRAIN_IMAGES, generator)
    test = _render(glyphs, TEST_IMAGES, generator)
    return Parts(classes=CLASSES, train=train, validation=None, test=test)


def fonts() -> list[Path]:
    """Returns the font files of matplotlib that have all ten digits, by name."""
    import matplotlib as mpl  # slow to import, and only needed here
    from matplotlib.ft2font import FT2Font

    def has_digits(path: Path) -> bool:
        # The names, because symbol fonts have other glyphs at the places of the digits.
        font = FT2Font(str(path))
        glyphs = font.get_charmap()
        return all(
            ord(digit) in glyphs and font.get_glyph_name(glyphs[ord(digit)]) == name
            for digit, name in zip(CLASSES, GLYPH_NAMES, strict=True)
        )

    return sorted(filter(has_digits, Path(mpl.get_data_path(), "fonts", "ttf").glob("*.ttf")))


def _glyphs() -> Tensor:
    """Returns the masks of all digits in all fonts, float32 [fonts, 10, G, G] in 0 to 1."""
    paths = fonts()
    if not paths:
        raise DataError(
            "rendered_digits needs the fonts that ship inside matplotlib, but this installation "
            "has none with digits; install matplotlib anew"
        )
    return torch.stack([torch.stack([_glyph(path, digit) for digit in CLASSES]) for path in paths])


def _glyph(path: Path, digit: str) -> Tensor:
    """Returns a digit's mask, float32 [G, G], centred and 0.7 G high."""
    canvas = Image.new("L", (4 * _GLYPH_SIZE, 4 * _GLYPH_SIZE))
    font = ImageFont.truetype(str(path), 2 * _GLYPH_SIZE)
    ImageDraw.Draw(canvas).text((_GLYPH_SIZE, _GLYPH_SIZE), digit, fill=255, font=font)
    ink = canvas.crop(canvas.getbbox())
    height = round(0.7 * _GLYPH_SIZE)
    ink = ink.resize((round(ink.width * height / ink.height), height))
    mask = Image.new("L", (_GLYPH_SIZE, _GLYPH_SIZE))
    mask.paste(ink, ((_GLYPH_SIZE - ink.width) // 2, (_GLYPH_SIZE - ink.height) // 2))
    return torch.from_numpy(np.array(mask)).float() / 255


def _render(glyphs: Tensor, count: int, generator: torch.Generator) -> ArrayImages:
    """Renders `count` images, as many of each digit."""

    def uniform(low: float, high: float, shape: Sequence[int] = ()) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    labels = torch.arange(count) % len(CLASSES)
    font = torch.randint(len(glyphs), (count,), generator=generator)
    maps = _affine_maps(
        angle=uniform(-15, 15) * (math.pi / 180),
        shear=uniform(-0.2, 0.2),
        scale=uniform(0.7, 1.2, (2,)),
        shift=uniform(-0.15, 0.15, (2,)),
    )
    grid = F.affine_grid(maps, [count, 1, SIZE, SIZE], align_corners=False)
    masks = F.grid_sample(glyphs[font, labels].unsqueeze(1), grid, align_corners=False)
    paper, ink = _colours(uniform(0, 1, (3,)), uniform(0, 1, (3,)))
    images = paper + (ink - paper) * masks
    strength = uniform(0, 0.08, (1, 1, 1))
    images += strength * torch.randn(images.shape, generator=generator)
    return ArrayImages((images.clamp(0, 1) * 255).round().to(torch.uint8), labels)


def _affine_maps(*, angle: Tensor, shear: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Returns maps from places in the image to places in the glyph, [N, 2, 3]."""
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    one, zero = torch.ones_like(shear), torch.zeros_like(shear)
    sheared = torch.stack([one, shear, zero, one], dim=1).view(-1, 2, 2)
    linear = torch.diag_embed(1 / scale) @ sheared @ turned
    return torch.cat([linear, -linear @ shift.unsqueeze(2)], dim=2)


def _colours(paper: Tensor, ink: Tensor) -> tuple[Tensor, Tensor]:
    """Returns colours of paper and ink, [N, 3, 1, 1], the ink clearly lighter or darker."""
    # Move each ink away from its paper until the means differ by 0.35, in the way that has room.
    gap = (ink - paper).mean(dim=1, keepdim=True)
    away = torch.where(paper.mean(dim=1, keepdim=True) < 0.5, 1.0, -1.0)
    ink = (ink + away * (0.35 - away * gap).clamp(min=0)).clamp(0, 1)
    return paper[:, :, None, None], ink[:, :, None, None]
