"""The report's plots: memory against resolution, what it is made of, and the studies."""

import html
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from benchmarks.paper.comparison import Study, Trained
from benchmarks.paper.experiments.base import Row
from orchestrator.fronts.plots import LOOKS
from tinytl.methods import METHODS

if TYPE_CHECKING:
    import plotly.graph_objects as go

_FIGURES = ("Figure 3", "Figure 5")
# Okabe and Ito's colours, told apart by people with any kind of colour vision
_COLOURS = {"plain": "#d55e00", "saving": "#0072b2", "planned": "#009e73"}
_PARTS = {
    "parameters": "#0072b2", "buffers": "#56b4e9", "optimizer": "#009e73", "input": "#999999",
    "gradients": "#f0e442", "activations": "#d55e00", "transient": "#cc79a7",
}  # fmt: skip
_INK = "#222222"
_TICKS = [digit * 10.0**power for power in range(-1, 4) for digit in (1, 1.5, 2, 3, 5, 7)]
Curve = tuple[list[int], list[float]]


class Plots:
    """The plots of one page: the first brings the script that draws them all."""

    def __init__(self) -> None:
        self._drawn = 0

    def of_memory(self, rows: Sequence[Row]) -> str:
        """Returns a plot for each method of Figures 3 and 5, and one of what Table 2 is made of."""
        parts = parts_of(rows)
        wide = f'<div class="plot">{self._html(_parts_figure(parts), 36)}</div>' if parts else ""
        drawn = [row for row in rows if row.claim.table in _FIGURES and row.ours is not None]
        return wide + self._grid(list(_memory_figures(drawn)), 22)

    def of_study(self, study: Study) -> str:
        """Returns the front of a study, and its accuracies by resolution where it has several."""
        if not study.trained:
            return ""
        figures = [_front_figure(study)]
        if len(study.trained) > 1:
            figures.append(_resolution_figure(study))
        return self._grid(figures, 29)  # there are many methods to be named

    def _grid(self, figures: Sequence["go.Figure"], height_rem: int) -> str:
        divisions = "".join(f"<div>{self._html(figure, height_rem)}</div>" for figure in figures)
        return f'<div class="plots">{divisions}</div>' if figures else ""

    def _html(self, figure: "go.Figure", height_rem: int) -> str:
        self._drawn += 1
        return str(
            figure.to_html(
                full_html=False,
                include_plotlyjs=self._drawn == 1,
                default_height=f"{height_rem}rem",
                config={"responsive": True, "displaylogo": False},
            )
        )


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Returns resolutions and megabytes of each curve that has points."""
    names = ("paper", "modeled", *_COLOURS)
    found: dict[str, Curve] = {name: ([], []) for name in names}
    for row in rows:
        values = {"paper": row.claim.value, "modeled": row.ours}
        values |= {name: numbers["peak_bytes"] / 1e6 for name, numbers in row.measured.items()}
        for name, value in values.items():
            if value is not None:
                found[name][0].append(row.claim.settings["resolution"])
                found[name][1].append(value)
    return {name: curve for name, curve in found.items() if curve[0]}


def parts_of(rows: Sequence[Row]) -> dict[str, Mapping[str, float]]:
    """Returns the parts of each measured step of Table 2, in megabytes, by its name."""
    return {
        f"{row.claim.row}, {execution}": {part: numbers[f"{part}_bytes"] / 1e6 for part in _PARTS}
        for row in rows
        if (row.claim.table, row.claim.quantity) == ("Table 2", "memory")
        for execution, numbers in row.measured.items()
    }


def front_of(trained: Sequence[Trained]) -> list[Trained]:
    """Returns what no other is both more accurate and smaller than, the smallest first."""
    best: list[Trained] = []
    for each in sorted(trained, key=lambda t: (t.metrics["peak_bytes"], -t.mean)):
        if not best or each.mean > best[-1].mean:
            best.append(each)
    return best


def _memory_figures(rows: Sequence[Row]) -> Iterator["go.Figure"]:
    for (table, name), group in groupby(rows, key=lambda row: (row.claim.table, row.claim.row)):
        figure = _figure(f"{table}: {name}", "resolution (px)", "memory (MB)")
        for curve, (resolutions, megabytes) in curves(list(group)).items():
            colour = _COLOURS.get(curve, _INK)
            single = curve in ("paper", "planned")  # which are points, not a course
            figure.add_scatter(
                x=resolutions,
                y=megabytes,
                name=curve if curve in ("paper", "modeled") else f"measured {curve}",
                mode="markers" if single else "lines+markers",
                line={"color": colour, "dash": "dot" if curve == "modeled" else "solid"},
                marker={
                    "color": colour,
                    "size": 11 if single else 6,
                    "symbol": {"paper": "circle-open", "planned": "diamond"}.get(curve, "circle"),
                },
                hovertemplate="%{x} px: %{y:.1f} MB",
            )
        figure.update_yaxes(rangemode="tozero")
        yield figure


def _parts_figure(parts: Mapping[str, Mapping[str, float]]) -> "go.Figure":
    """What is alive at the peak of a step of each method."""
    figure = _figure("Table 2: what a measured step is made of", "memory (MB)", "")
    names = list(parts)[::-1]
    for part, colour in _PARTS.items():
        figure.add_bar(
            y=names,
            x=[parts[name][part] for name in names],
            name=part,
            orientation="h",
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.1f} MB",
        )
    figure.update_layout(barmode="stack", legend={"y": -0.1, "traceorder": "normal"})
    figure.update_yaxes(automargin=True, tickfont={"size": 10}, dtick=1)
    return figure


def _front_figure(study: Study) -> "go.Figure":
    """Accuracy against measured memory, of each method, and the front."""
    figure = _figure("Pareto front", "measured training memory (MB)", "test accuracy (%)")
    everything = [each for size in study.trained.values() for each in size]
    sizes = {id(each): size for size, some in study.trained.items() for each in some}
    best = front_of(everything)
    figure.add_scatter(
        x=[_megabytes(each) for each in best],
        y=[each.mean for each in best],
        name="front",
        mode="lines",
        line={"color": _INK, "width": 1, "shape": "hv"},
        hoverinfo="skip",
    )
    for method in METHODS:
        some = [each for each in everything if each.method == method]
        colour, _, symbol = LOOKS[method]
        figure.add_scatter(
            x=[_megabytes(each) for each in some],
            y=[each.mean for each in some],
            error_y={"type": "data", "array": [each.deviation for each in some], "thickness": 1},
            name=METHODS[method].label,
            mode="markers",
            marker={"color": colour, "size": 9, "symbol": symbol},
            customdata=[sizes[id(each)] for each in some],
            hovertemplate="%{y:.1f} % in %{x:.2f} MB at %{customdata} px",
        )
    figure.update_xaxes(type="log", tickvals=_TICKS, ticktext=[f"{tick:g}" for tick in _TICKS])
    return figure


def _resolution_figure(study: Study) -> "go.Figure":
    figure = _figure("Accuracy against resolution", "resolution (px)", "test accuracy (%)")
    for method in METHODS:
        course = [
            (size, each)
            for size, some in study.trained.items()
            for each in some
            if each.method == method
        ]
        colour, _, symbol = LOOKS[method]
        figure.add_scatter(
            x=[size for size, _ in course],
            y=[each.mean for _, each in course],
            error_y={"type": "data", "array": [t.deviation for _, t in course], "thickness": 1},
            name=METHODS[method].label,
            mode="lines+markers",
            line={"color": colour},
            marker={"symbol": symbol, "size": 9},
            customdata=[_megabytes(each) for _, each in course],
            hovertemplate="%{x} px: %{y:.1f} % in %{customdata:.2f} MB",
        )
    figure.update_xaxes(tickvals=list(study.trained))
    return figure


def _megabytes(trained: Trained) -> float:
    return trained.metrics["peak_bytes"] / 1e6


def _figure(title: str, x: str, y: str, **layout: Any) -> "go.Figure":
    # slow to import, and not needed where nothing is drawn
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        title={"text": html.escape(title), "font": {"size": 15}},
        font={"family": "system-ui, sans-serif", "color": _INK},
        legend={"orientation": "h", "x": 0, "y": -0.25},
        margin={"l": 56, "r": 36, "t": 48, "b": 16},
        modebar={"orientation": "v"},  # beside the title, not over it
        **layout,
    )
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return figure
