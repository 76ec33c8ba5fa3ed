"""Pictures of what benchmarks found: readable on a phone, and without telling colours apart."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#555555"
_WIDTH = 5.5  # inches; a phone shows it at about 70 pixels an inch


@dataclass(frozen=True)
class Kind:
    """A group of contenders, told by colour and shape."""

    name: str
    colour: str
    marker: str


OURS, PEER, PLAIN = Kind("ours", BLUE, "o"), Kind("peers", ORANGE, "s"), Kind("plain", GREY, "D")


@dataclass(frozen=True)
class Point:
    """A contender in two numbers."""

    name: str
    x: float
    y: float
    kind: Kind


@dataclass(frozen=True)
class Bar:
    """A contender in one number."""

    name: str
    value: float
    kind: Kind


def scatter(panels: Mapping[str, Sequence[Point]], x: str, y: str) -> bytes:
    """Returns a PNG with a panel for each group of points, every point with its name.

    Args:
        panels: Points by title. Where x spans much, its axis is logarithmic.
        x: What the horizontal axis shows.
        y: What the vertical axis shows.
    """
    figure, areas = _figure(len(panels), height=3.9)
    for area, (title, points) in zip(areas, panels.items(), strict=True):
        for point in points:
            looks = {"color": point.kind.colour, "marker": point.kind.marker}
            area.scatter([point.x], [point.y], s=46, zorder=5, **looks)
        _scale(area, [point.x for point in points])
        area.margins(0.16)
        area.set(xlabel=x, ylabel=y)
        area.set_title(title, loc="left", fontweight="bold", fontsize=11)
        area.grid(color="#e6e6e6", linewidth=0.8)
    figure.draw_without_rendering()  # the layout, which labels are placed in
    figure.set_layout_engine("none")
    for area, points in zip(areas, panels.values(), strict=True):
        _label(area, points)
    return _png(figure)


def bars(panels: Mapping[str, Sequence[Bar]], bound: float | None = None) -> bytes:
    """Returns a PNG with a panel for each group of bars, every bar with its name and number.

    Args:
        panels: Bars by title, which says what they measure.
        bound: Where a line is drawn: what ours are held against.
    """
    most = max(len(group) for group in panels.values())
    figure, areas = _figure(len(panels), height=0.8 + 0.36 * most)
    for area, (title, group) in zip(areas, panels.items(), strict=True):
        names, colours = [bar.name for bar in group], [bar.kind.colour for bar in group]
        drawn = area.barh(range(len(group)), [bar.value for bar in group], 0.65, color=colours)
        area.bar_label(drawn, [f"{bar.value:.3g}" for bar in group], padding=3)
        if bound is not None:
            area.axvline(bound, color=GREY, linestyle="--", linewidth=1, zorder=0)
        area.set_yticks(range(len(group)), names)
        area.invert_yaxis()
        area.margins(x=0.15)
        area.set_title(title, loc="left", fontweight="bold", fontsize=11)
    return _png(figure)


def _figure(panels: int, height: float) -> tuple[Any, list[Any]]:
    """Returns a figure and its panels, one below the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height * panels), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    areas = list(figure.subplots(panels, 1, squeeze=False)[:, 0])
    for area in areas:
        area.spines[["top", "right"]].set_visible(False)
        area.set_axisbelow(True)
    return figure, areas


def _scale(area: Any, values: Sequence[float]) -> None:
    if min(values) <= 0 or max(values) < 4 * min(values):
        return
    area.set_xscale("log")
    ticks = [step * 10**decade for decade in range(-3, 7) for step in (1, 2, 5)]
    ticks = [tick for tick in ticks if min(values) / 1.5 <= tick <= max(values) * 1.5]
    area.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    area.set_xticks([], minor=True)


def _label(area: Any, points: Sequence[Point]) -> None:
    """Writes each point's name beside it, where it covers neither a point nor another name."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    renderer = area.figure.canvas.get_renderer()
    taken = [_around(*area.transData.transform((point.x, point.y))) for point in points]
    for point in sorted(points, key=lambda point: (point.y, point.x)):
        text = area.annotate(
            point.name,
            (point.x, point.y),
            (0, 0),
            textcoords="offset points",
            color=point.kind.colour,
            fontsize=10,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": point.kind.colour, "linewidth": 0.6},
        )
        for place in _places():
            text.xyann, (across, up) = place[:2], place[2:]
            text.set(ha=across, va=up)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without the line to the point
            if not box.count_overlaps(taken) and _inside(box, area.bbox):
                break
        taken.append(box)


def _places() -> Iterator[tuple[float, float, str, str]]:
    """Yields offsets in points, and which side of the name is there, the best first."""
    yield 8, 0, "left", "center"
    yield -8, 0, "right", "center"
    for away in (7, 20, 34, 48):
        for up, side in ((away, "bottom"), (-away, "top")):
            yield from ((0, up, "center", side), (7, up, "left", side), (-7, up, "right", side))


def _around(x: float, y: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x - 16, y - 12, x + 16, y + 12)


def _inside(box: Any, whole: Any) -> bool:
    return whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1


def _png(figure: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
