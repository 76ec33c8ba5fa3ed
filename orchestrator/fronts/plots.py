"""Pictures of Pareto fronts: an interactive page that needs no network, and a PNG."""

import html
import io
import math
from collections.abc import Sequence
from pathlib import Path

from orchestrator.fronts.pareto import (
    Objectives,
    Point,
    confirmed_front,
    front,
    front_csv,
    label,
    measured_text,
    shown,
    widths,
)
from tinytl.storage import write_atomically

# Okabe and Ito's colours, told apart by people with any kind of colour vision, and a symbol as
# well; fixed for the known methods, so that the pictures of two sweeps compare at a glance
LOOKS = {
    "last": ("#7f7f7f", "o", "circle"),
    "bn+last": ("#e69f00", "s", "square"),
    "tinytl-bias": ("#56b4e9", "^", "triangle-up"),
    "tinytl-lite_residual": ("#009e73", "D", "diamond"),
    "tinytl-lite_residual+bias": ("#0072b2", "v", "triangle-down"),
    "full": ("#d55e00", "X", "x"),
    "full+checkpointing": ("#d55e00", "p", "pentagon"),
    "sparse-update": ("#000000", "h", "hexagon"),
}
_OTHER = ("#cc79a7", "P", "cross")
_INK = "#222222"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>html, body {{ margin: 0; height: 100%; }} body > div {{ height: 100%; }}</style>
</head>
<body>{plot}</body>
</html>
"""


def axes(objectives: Objectives) -> tuple[str, str]:
    """Returns the metrics of a picture's x and y axis.

    x is the last objective to be minimized, y the first to be maximized. An axis that no objective
    takes shows what every complete trial has: `peak_bytes` or `val_accuracy`.
    """
    smallest = [name for name, mode in objectives.items() if mode == "min"]
    largest = [name for name, mode in objectives.items() if mode == "max"]
    return (smallest or ["peak_bytes"])[-1], (largest or ["val_accuracy"])[0]


def write_pictures(
    directory: Path, candidates: Sequence[Point], objectives: Objectives, title: str
) -> None:
    """Writes `front.html`, `front.png` and `front.csv` into the directory, each atomically.

    Raises:
        StorageError: If they cannot be written.
    """
    table = front_csv(front(candidates, objectives), objectives)
    page = plot_html(candidates, objectives, title)
    for name, content in (
        # a path that is no valid text may be part of a name: shown with ?, not refused
        ("front.html", page.encode("utf-8", "replace")),
        ("front.csv", table.encode("utf-8", "replace")),
        ("front.png", plot_png(candidates, objectives, title)),
    ):
        write_atomically(directory / name, content)


def plot_html(candidates: Sequence[Point], objectives: Objectives, title: str) -> str:
    """Returns a self-contained page: the complete trials by method, the front as a step line.

    Where members of the front are confirmed, they stand at their means with bars of one standard
    deviation, and the line is that of those which stay on the front.

    Args:
        candidates: Complete trials of one study.
        objectives: Metrics and modes; see `axes` for which are shown.
        title: The study's name.
    """
    import plotly.graph_objects as go

    x, y = axes(objectives)
    candidates = _drawable(candidates, x, y)
    best = _best(candidates, x, y)
    figure = go.Figure()
    steps = _steps(candidates, best, x, y)
    figure.add_scatter(
        x=[at for at, _ in steps],
        y=[height for _, height in steps],
        mode="lines",
        line={"shape": "hv", "color": _INK, "width": 1.5},
        name="Pareto front",
        hoverinfo="skip",
    )
    for method, group in _by_method(candidates).items():
        colour, _, symbol = LOOKS.get(method, _OTHER)
        figure.add_scatter(
            x=[_at(point, x) for point in group],
            y=[_at(point, y) for point in group],
            error_x=_plotly_bars(group, x, colour),
            error_y=_plotly_bars(group, y, colour),
            mode="markers",
            name=html.escape(method),
            marker={
                "color": colour,
                "symbol": symbol,
                "size": [13 if point in best else 8 for point in group],
                "opacity": [1.0 if point in best else 0.55 for point in group],
                "line": {
                    "color": _INK,
                    "width": [1.5 if point in best else 0 for point in group],
                },
            },
            text=[_hover(point, objectives) for point in group],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(
        template="plotly_white",
        title={"text": html.escape(title), "subtitle": {"text": _summary(candidates, best)}},
        font={"family": "system-ui, sans-serif", "size": 14, "color": _INK},
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        margin={"l": 64, "r": 16, "t": 72, "b": 64},
        hoverlabel={"align": "left", "bgcolor": "white"},
    )
    figure.update_xaxes(title=label(x), **_plotly_scale(candidates, x))
    figure.update_yaxes(title=label(y))
    plot = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        default_height="100%",
        config={"responsive": True, "displaylogo": False},
    )
    return _PAGE.format(title=html.escape(title), plot=plot)


def plot_png(candidates: Sequence[Point], objectives: Objectives, title: str) -> bytes:
    """Returns the picture of `plot_html` as a PNG of 1440 x 900 pixels."""
    # not pyplot: its figures are global, and the tracker draws from a thread of its own
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    x, y = axes(objectives)
    candidates = _drawable(candidates, x, y)
    best = _best(candidates, x, y)
    figure = Figure(figsize=(8, 5), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    area = figure.add_subplot()
    steps = _steps(candidates, best, x, y)
    area.step(
        [at for at, _ in steps],
        [height for _, height in steps],
        where="post",
        color=_INK,
        linewidth=1.3,
        label="Pareto front",
    )
    for method, group in _by_method(candidates).items():
        colour, marker, _ = LOOKS.get(method, _OTHER)
        for chosen, style in (
            (False, {"s": 30, "alpha": 0.5, "linewidths": 0}),
            (True, {"s": 72, "edgecolors": _INK, "linewidths": 1.1, "zorder": 3}),
        ):
            drawn = [point for point in group if (point in best) == chosen]
            area.scatter(
                [_at(point, x) for point in drawn],
                [_at(point, y) for point in drawn],
                color=colour,
                marker=marker,
                **style,
            )
        area.errorbar(
            [_at(point, x) for point in group],
            [_at(point, y) for point in group],
            xerr=_bars(group, x),
            yerr=_bars(group, y),
            fmt="none",
            ecolor=colour,
            elinewidth=1,
            capsize=2.5,
        )
        area.scatter([], [], s=48, color=colour, marker=marker, label=_plain(method))
    if candidates and min(_at(point, x) for point in candidates) > 0:
        ticks = _ticks([_at(point, x) for point in candidates])
        area.set_xscale("log")
        area.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        area.set_xticks([], minor=True)
    area.set_xlabel(label(x))
    area.set_ylabel(label(y))
    area.set_title(_plain(title), loc="left", fontweight="bold", pad=22)
    area.annotate(
        _summary(candidates, best),
        (0, 1),
        xytext=(0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color="#666666",
    )
    area.grid(color="#e6e6e6", linewidth=0.8)
    area.set_axisbelow(True)
    area.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _drawable(candidates: Sequence[Point], x: str, y: str) -> list[Point]:
    return [
        point
        for point in candidates
        if all(math.isfinite(point.values.get(name, math.nan)) for name in (x, y))
    ]


def _best(candidates: Sequence[Point], x: str, y: str) -> list[Point]:
    """The front on the two axes: what is confirmed of it, where anything is."""
    on_axes: Objectives = {y: "max", x: "min"}
    best = front(candidates, on_axes)
    return confirmed_front(best, on_axes) or best


def _at(point: Point, metric: str) -> float:
    return shown(metric, point.mean(metric))


def _bars(points: Sequence[Point], metric: str) -> list[float]:
    """Standard deviations in shown units; nan, of which nothing is drawn, where there is none."""
    return [shown(metric, point.deviation(metric) or math.nan) for point in points]


def _plotly_bars(points: Sequence[Point], metric: str, colour: str) -> dict[str, object]:
    bars = [None if math.isnan(bar) else bar for bar in _bars(points, metric)]
    return {"array": bars, "visible": any(bars), "color": colour, "thickness": 1.2}


def _steps(
    candidates: Sequence[Point], best: Sequence[Point], x: str, y: str
) -> list[tuple[float, float]]:
    """The front's corners, in shown units, drawn on to the last trial at the right."""
    corners = sorted((_at(point, x), _at(point, y)) for point in best)
    if corners:
        right = max(_at(point, x) for point in candidates)
        corners.append((right, corners[-1][1]))
    return corners


def _by_method(candidates: Sequence[Point]) -> dict[str, list[Point]]:
    """Groups the trials, the known methods first and in the order of their looks."""
    groups: dict[str, list[Point]] = {method: [] for method in LOOKS}
    for point in candidates:
        groups.setdefault(str(point.params.get("method", "trials")), []).append(point)
    return {method: group for method, group in groups.items() if group}


def _summary(candidates: Sequence[Point], best: Sequence[Point]) -> str:
    if not candidates:
        return "no trial is complete yet"
    trials = "1 complete trial" if len(candidates) == 1 else f"{len(candidates)} complete trials"
    if not any(point.confirmations for point in best):
        return f"{trials}, {len(best)} on the front"
    return f"{trials}, {len(best)} on the front confirmed by other seeds: mean ± standard deviation"


def _hover(point: Point, objectives: Objectives) -> str:
    lines = [f"<b>{html.escape(point.trial)}</b>"]
    for name in objectives:
        lines.append(f"{label(name)}: {shown(name, point.values.get(name, math.nan)):.4g}")
        if point.confirmations:
            seeds = len(point.confirmations)
            lines.append(f"with {seeds} other seeds: {measured_text(point, name)}")
    if modules := widths(point.params):
        lines.append(f"lite residual widths: {modules}")
    for name, value in point.params.items():
        if not name.startswith("lite_residual.width"):
            lines.append(html.escape(f"{name}: {value}"))
    return "<br>".join(lines)


def _plotly_scale(candidates: Sequence[Point], x: str) -> dict[str, object]:
    values = [_at(point, x) for point in candidates]
    if not values or min(values) <= 0:
        return {}
    ticks = _ticks(values)
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers for a logarithmic axis: as few per decade as give at least four."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(values) / 1.1, max(values) * 1.1
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 6, 8)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            return ticks
    return [float(tick) for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]


def _plain(text: str) -> str:
    """The text as matplotlib can draw it, in one line; `$` starts no formula."""
    text = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")
