"""Pictures of benchmarks: names cover neither points nor each other, and stay inside."""

from itertools import combinations

import pytest
from matplotlib.text import Text

from benchmarks.systems import pictures
from benchmarks.systems.pictures import OURS, PEER, PLAIN, Bar, Point, bars, scatter

CLOSE = [
    Point("plain PyTorch", 576, 1.0, PLAIN),
    Point("checkpoint per block", 180, 1.35, PEER),
    Point("approach of memsave_torch", 290, 1.05, PEER),
    Point("torch.compile, budget 0.5", 300, 1.0, PEER),
    Point("ours, saving", 223, 1.1, OURS),
    Point("ours, 36 MB, 8 bits", 36, 1.9, OURS),
]


def test_names_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    png = pictures._png
    monkeypatch.setattr(pictures, "_png", lambda figure: drawn.append(figure) or png(figure))
    content = scatter({"close": CLOSE, "few": CLOSE[:2]}, "peak (MB)", "time, × plain")
    assert content.startswith(b"\x89PNG")
    (figure,) = drawn
    renderer = figure.canvas.get_renderer()
    for area, count in zip(figure.axes, (len(CLOSE), 2), strict=True):
        assert len(area.texts) == count
        boxes = [Text.get_window_extent(text, renderer) for text in area.texts]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_bars_are_drawn() -> None:
    group = [Bar("ours", 1.02, OURS), Bar("theirs", 1.9, PEER)]
    assert bars({"× the ideal": group, "ms": group}, 1.1).startswith(b"\x89PNG")
