"""Figures 3 and 5 redrawn: the paper's memory, ours, and what was measured."""

import html
from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmarks.paper.claims import Claim
from benchmarks.paper.comparison import Row

_DRAWN = ("Figure 3", "Figure 5")
# Okabe and Ito's colours, told apart by people with any kind of colour vision
_COLOURS = {"plain": "#d55e00", "saving": "#0072b2", "planned": "#009e73"}
_INK = "#222222"
Curve = tuple[list[int], list[float]]


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Returns resolutions and megabytes of each curve that has points."""
    names = ("paper", "modeled", *_COLOURS)
    found: dict[str, Curve] = {name: ([], []) for name in names}
    for row in rows:
        measured = {name: row.measured.get(name) for name in _COLOURS}
        values = {"paper": row.claim.value, "modeled": row.ours}
        values |= {name: peak and peak / 1e6 for name, peak in measured.items()}
        for name, value in values.items():
            if value is not None:
                found[name][0].append(row.claim.settings["resolution"])
                found[name][1].append(value)
    return {name: curve for name, curve in found.items() if curve[0]}


def plots_html(rows: Sequence[Row]) -> str:
    """Returns a plot for each method of Figures 3 and 5 of which something was found.

    The first brings the script that draws them, so that the page loads nothing.
    """
    drawn = [row for row in rows if row.claim.table in _DRAWN and row.ours is not None]
    return "".join(_plots(drawn))


def _plots(rows: Sequence[Row]) -> Iterator[str]:
    groups = groupby(rows, key=lambda row: (row.claim.table, row.claim.row))
    for index, (_, group) in enumerate(groups):
        same = list(group)
        yield f"<div>{_plot(same[0].claim, curves(same), with_script=not index)}</div>"


def _plot(claim: Claim, drawn: dict[str, Curve], *, with_script: bool) -> str:
    # slow to import, and not needed where nothing is drawn
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, (resolutions, megabytes) in drawn.items():
        colour = _COLOURS.get(name, _INK)
        single = name in ("paper", "planned")  # which are points, not a course
        figure.add_scatter(
            x=resolutions,
            y=megabytes,
            name=name if name in ("paper", "modeled") else f"measured {name}",
            mode="markers" if single else "lines+markers",
            line={"color": colour, "dash": "dot" if name == "modeled" else "solid"},
            marker={
                "color": colour,
                "size": 11 if single else 6,
                "symbol": {"paper": "circle-open", "planned": "diamond"}.get(name, "circle"),
            },
            hovertemplate="%{x} px: %{y:.1f} MB",
        )
    figure.update_layout(
        template="plotly_white",
        title={"text": html.escape(f"{claim.table}: {claim.row}"), "font": {"size": 15}},
        font={"family": "system-ui, sans-serif", "color": _INK},
        legend={"orientation": "h", "x": 0, "y": -0.25},
        margin={"l": 56, "r": 16, "t": 48, "b": 16},
    )
    figure.update_xaxes(title="resolution (px)")
    figure.update_yaxes(title="memory (MB)", rangemode="tozero")
    return str(
        figure.to_html(
            full_html=False,
            include_plotlyjs=with_script,
            default_height="22rem",
            config={"responsive": True, "displaylogo": False},
        )
    )
