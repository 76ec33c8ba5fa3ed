import csv
import io
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.fronts.pareto import (
    Point,
    front,
    front_csv,
    front_markdown,
    front_table,
    hypervolume,
    label,
    points,
    reference_point,
    shown,
    widths,
)
from orchestrator.fronts.plots import axes, plot_html, plot_png, write_pictures
from orchestrator.record import Asked, Reported, Told

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
HOSTILE = "</script><img src=x onerror=alert(1)> $\\frac$ | `a`\n\"'=1+1 é☃"


def point(trial, accuracy, peak_bytes, **params):
    return Point(trial, params, {"val_accuracy": accuracy, "peak_bytes": peak_bytes})


def cloud(number, seed=0):
    draw = random.Random(seed)
    methods = ["last", "tinytl-bias", "full", "something-new"]
    return [
        point(
            f"t-{index}",
            draw.random(),
            draw.randint(5_000_000, 400_000_000),
            method=draw.choice(methods),
            resolution=224,
        )
        for index in range(number)
    ]


def dominates(one, other):
    """The definition, written out for accuracy up and memory down."""
    ours = one.values["val_accuracy"], -one.values["peak_bytes"]
    theirs = other.values["val_accuracy"], -other.values["peak_bytes"]
    return all(a >= b for a, b in zip(ours, theirs, strict=True)) and ours != theirs


def staircase_area(best, reference_megabytes):
    """The area under the front's steps, summed by hand."""
    corners = [(p.values["peak_bytes"] / 1e6, p.values["val_accuracy"]) for p in best]
    corners.append((reference_megabytes, None))
    return sum((right - left) * height for (left, height), (right, _) in pairwise(corners))


grid_clouds = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=25).map(
    lambda pairs: [point(f"t-{i}", a / 6, m * 1_000_000) for i, (a, m) in enumerate(pairs)]
)


@settings(deadline=None)
@given(grid_clouds)
def test_front_is_what_the_definition_says(candidates):
    best = front(candidates, OBJECTIVES)
    vectors = [tuple(p.values.values()) for p in best]
    expected = {
        tuple(p.values.values())
        for p in candidates
        if not any(dominates(other, p) for other in candidates)
    }
    assert set(vectors) == expected
    assert len(vectors) == len(expected), "one point for each objective vector"
    assert [p.values["peak_bytes"] for p in best] == sorted(p.values["peak_bytes"] for p in best)
    first = {}
    for p in candidates:
        first.setdefault(tuple(p.values.values()), p.trial)
    assert [p.trial for p in best] == [first[vector] for vector in vectors]


@settings(deadline=None)
@given(grid_clouds)
def test_hypervolume_is_the_area_under_the_steps(candidates):
    reference = reference_point(candidates, OBJECTIVES, {"peak_bytes": 8_000_000})
    assert reference == {"val_accuracy": 0.0, "peak_bytes": 8_000_000.0}
    area = staircase_area(front(candidates, OBJECTIVES), 8.0)
    assert hypervolume(candidates, OBJECTIVES, reference) == pytest.approx(area)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({}, 30e6), ({"peak_bytes": 64_000_000}, 64e6), ({"hours": 12}, 30e6)],
)
def test_reference_is_the_limit_or_else_the_largest_seen(limits, expected):
    candidates = [point("a", 0.5, 10_000_000), point("b", 0.9, 30_000_000)]
    reference = reference_point(candidates, OBJECTIVES, limits)
    assert reference == {"val_accuracy": 0.0, "peak_bytes": expected}


def test_points_beyond_the_reference_add_nothing():
    reference = {"val_accuracy": 0.0, "peak_bytes": 20e6}
    inside = [point("a", 0.5, 10_000_000)]
    outside = [*inside, point("b", 0.9, 30_000_000)]
    assert hypervolume(inside, OBJECTIVES, reference) == pytest.approx(5.0)
    assert hypervolume(outside, OBJECTIVES, reference) == pytest.approx(5.0)


def test_nothing_complete_gives_empty_answers():
    reference = reference_point([], OBJECTIVES, {})
    assert hypervolume([], OBJECTIVES, reference) == 0.0
    assert front([], OBJECTIVES) == []
    assert front_table([], OBJECTIVES) == []
    assert front_markdown([], OBJECTIVES) == "No trial is complete yet."


@pytest.mark.parametrize("accuracy", [math.nan, math.inf, None])
def test_points_without_a_finite_objective_are_left_out(accuracy):
    good = point("good", 0.5, 10_000_000)
    values = {"peak_bytes": 1} if accuracy is None else {"peak_bytes": 1, "val_accuracy": accuracy}
    bad = Point("bad", {}, values)
    assert front([bad, good], OBJECTIVES) == [good]
    reference = {"val_accuracy": 0.0, "peak_bytes": 20e6}
    assert hypervolume([bad, good], OBJECTIVES, reference) == pytest.approx(5.0)
    assert "1 complete trial, 1 on the front" in plot_html([bad, good], OBJECTIVES, "x")


@pytest.mark.parametrize(
    "objectives", [{"val_accuracy": "max"}, {"a": "min", "b": "min", "c": "max"}]
)
def test_any_number_of_objectives(objectives):
    draw = random.Random(1)
    names = [*objectives, "val_accuracy", "peak_bytes"]
    candidates = [Point(f"t-{i}", {}, {name: draw.random() for name in names}) for i in range(20)]
    best = front(candidates, objectives)

    def better(p, q):
        signs = {"max": 1, "min": -1}
        gains = [signs[m] * (p.values[n] - q.values[n]) for n, m in objectives.items()]
        return min(gains) >= 0 and max(gains) > 0

    expected = {q.trial for q in candidates if not any(better(p, q) for p in candidates)}
    assert {p.trial for p in best} == expected
    assert plot_png(candidates, objectives, "x")


def test_points_are_the_complete_trials_of_each_study():
    events = [
        Asked("a-0", "a", 0, {"method": "last"}),
        Asked("a-1", "a", 1, {"method": "full"}),
        Asked("b-0", "b", 0, {"method": "last"}),
        Asked("c-0", "c", 0, {}),
        Reported("a-0", 1, {"val_accuracy": 0.1}),
        Told("a-1", "stopped", {"val_accuracy": 0.9}),
        Told("b-0", "complete", {"val_accuracy": 0.7}),
        Told("a-0", "complete", {"val_accuracy": 0.5}),
        Told("c-0", "infeasible", {}),
    ]
    assert points(events) == {
        "a": [Point("a-0", {"method": "last"}, {"val_accuracy": 0.5})],
        "b": [Point("b-0", {"method": "last"}, {"val_accuracy": 0.7})],
        "c": [],
    }


@pytest.mark.parametrize(
    ("metric", "value", "name", "number"),
    [
        ("val_accuracy", 0.955, "validation accuracy (%)", 95.5),
        ("test_accuracy", 0.5, "test accuracy (%)", 50.0),
        ("peak_bytes", 37_100_000, "measured training memory (MB)", 37.1),
        ("weights_bytes", 1_000_000, "weights memory (MB)", 1.0),
        ("top5_accuracy", 1.0, "top5 accuracy (%)", 100.0),
        ("step_seconds", 0.25, "step seconds", 0.25),
    ],
)
def test_units_for_people(metric, value, name, number):
    assert label(metric) == name
    assert shown(metric, value) == pytest.approx(number)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ""),
        ({"lite_residual.width": 1.0}, "1"),
        ({"lite_residual.width": [0.5, 1, 0]}, "0.5 1 0"),
        ({f"lite_residual.width.{s}": s / 2 for s in (10, 2, 0, 1)}, "0 0.5 1 5"),
    ],
)
def test_widths_in_the_order_of_the_stages(params, expected):
    assert widths(params) == expected


def test_table_markdown_and_csv_tell_the_same():
    best = front(
        [
            point("a", 0.9349, 37_123_456, method="last", batch_size=8),
            point(
                "b",
                0.95512,
                65_000_000,
                method="tinytl-lite_residual",
                batch_size=1,
                **{"lite_residual.width.0": 0.5, "lite_residual.width.1": 2},
            ),
        ],
        OBJECTIVES,
    )
    assert front_table(best, OBJECTIVES) == [
        {
            "validation accuracy (%)": "93.5",
            "measured training memory (MB)": "37.1",
            "method": "last",
            "batch size": "8",
            "widths": "",
            "trial": "a",
        },
        {
            "validation accuracy (%)": "95.5",
            "measured training memory (MB)": "65.0",
            "method": "tinytl-lite_residual",
            "batch size": "1",
            "widths": "0.5 2",
            "trial": "b",
        },
    ]
    lines = front_markdown(best, OBJECTIVES).splitlines()
    assert lines[1] == "| --- | --- | --- | --- | --- | --- |"
    assert lines[2] == "| 93.5 | 37.1 | last | 8 |  | a |"
    rows = list(csv.DictReader(io.StringIO(front_csv(best, OBJECTIVES))))
    assert [int(row["peak_bytes"]) for row in rows] == [37_123_456, 65_000_000]
    assert [float(row["val_accuracy"]) for row in rows] == [0.9349, 0.95512]
    assert [row["lite_residual.width.1"] for row in rows] == ["", "2"]


def test_blocks_and_ratio_have_columns_where_a_trial_has_them():
    sparse = {"sparse_update.blocks": 6, "sparse_update.ratio": 0.25}
    candidates = [
        point("a", 0.9, 1_000_000, method="last"),
        point("b", 0.95, 2_000_000, method="sparse-update", **sparse),
    ]
    rows = front_table(front(candidates, OBJECTIVES), OBJECTIVES)
    assert [(row["blocks"], row["ratio"]) for row in rows] == [("", ""), ("6", "0.25")]
    assert "blocks" not in front_table(front(candidates[:1], OBJECTIVES), OBJECTIVES)[0]


def test_hostile_text_stays_text(tmp_path):
    candidates = [point(HOSTILE, 0.5, 10_000_000, method=HOSTILE, batch_size=HOSTILE)]
    best = front(candidates, OBJECTIVES)
    markdown = front_markdown(best, OBJECTIVES)
    assert len(markdown.splitlines()) == 3
    assert "<img" not in markdown
    row = next(csv.DictReader(io.StringIO(front_csv(best, OBJECTIVES), newline="")))
    assert row["trial"] == row["method"] == HOSTILE
    page = plot_html(candidates, OBJECTIVES, HOSTILE)
    assert "<img src=x" not in page
    assert "</script><img" not in page
    write_pictures(tmp_path, candidates, OBJECTIVES, HOSTILE)


def test_page_needs_no_network():
    page = plot_html(cloud(30), OBJECTIVES, "flowers102")
    assert 'src="http' not in page
    assert "cdn.plot.ly" not in page.split("</style>")[0]
    assert "Plotly.newPlot" in page
    assert "width=device-width" in page
    for text in ("flowers102", "30 complete trials", "measured training memory (MB)"):
        assert text in page


@pytest.mark.parametrize(
    "candidates",
    [
        [],
        cloud(1),
        cloud(60),
        [point("a", 0.5, 10_000_000), point("b", 0.6, 10_000_000)],
        [point("a", 0.5, 10_000_000), point("b", 0.6, 10_000_001)],
        [point("a", 0.5, 0), point("b", 0.6, 10)],
    ],
    ids=["none", "one", "many", "same memory", "one byte apart", "zero"],
)
def test_pictures_of_every_kind_of_cloud(tmp_path, candidates):
    write_pictures(tmp_path, candidates, OBJECTIVES, "study")
    assert {file.name for file in tmp_path.iterdir()} == {"front.html", "front.png", "front.csv"}
    with Image.open(tmp_path / "front.png") as picture:
        assert picture.size == (1440, 900)
        assert len(set(picture.convert("L").get_flattened_data())) > 10, "something is drawn"


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        (OBJECTIVES, ("peak_bytes", "val_accuracy")),
        ({"peak_bytes": "min", "val_accuracy": "max"}, ("peak_bytes", "val_accuracy")),
        ({"val_accuracy": "max"}, ("peak_bytes", "val_accuracy")),
        ({"step_seconds": "min", "saved_bytes": "min"}, ("saved_bytes", "val_accuracy")),
    ],
)
def test_axes(objectives, expected):
    assert axes(objectives) == expected
