"""A front can be read in an MLflow that has nothing of ours."""

import base64
import json
import math
import urllib.request
import zlib
from urllib.parse import parse_qs

import pytest

from orchestrator.fronts.pareto import Point, front, front_markdown, front_rows, points
from orchestrator.record import Asked, Told
from orchestrator.tracking.publication import description_tags, front_json
from tests.tracked import (
    BEGAN,
    HOSTILE,
    OBJECTIVES,
    by_name,
    client_of,
    copy_store,
    free_port,
    mirror,
    served,
    story,
)


@pytest.mark.integration
def test_server_shows_description_picture_and_table(
    record, tmp_path, empty_store, monkeypatch, capsys
) -> None:
    place = tmp_path / "served"
    place.mkdir()
    copy_store(empty_store, place)
    with served(place, free_port()) as uri:
        events = story("a", 10)
        mirror(record, events, uri=uri)
        client = client_of(uri)
        run = by_name(client)["a"]
        best = front(points(events)["a"], OBJECTIVES)
        links, picture, table = run.data.tags["mlflow.note.content"].split("\n\n")
        assert links.startswith(f"[Pareto page](tinytl/pareto?study={run.info.run_id})")
        assert table == front_markdown(best, OBJECTIVES)
        view = parse_qs(links.rstrip(")").rpartition("?")[2])
        state = client.get_experiment(run.info.experiment_id).tags[
            f"mlflow.sharedViewState.{view['viewStateShareKey'][0]}"
        ]
        found = client.search_runs([run.info.experiment_id], view_of(state)["searchFilter"])
        told = {e.trial for e in events if isinstance(e, Told) and e.state == "complete"}
        assert {each.info.run_name for each in found} == told
        address = picture.removeprefix("![Pareto front](").removesuffix(")")
        with urllib.request.urlopen(f"{uri}/{address}", timeout=30) as answer:
            assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
        assert capsys.readouterr().out == "", "nothing is printed into the sweep's progress"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # the client's method looks there
        loaded = client.load_table(run.info.experiment_id, "front.json", [run.info.run_id])
        rows = loaded.to_dict("records")
        assert rows == [pytest.approx(row) for row in front_rows(best, OBJECTIVES)]


def view_of(text):
    """The state as MLflow's page reads it."""
    return json.loads(zlib.decompress(base64.b64decode(text.removeprefix("deflate;"))))


def complete(trial, accuracy, size, at):
    return [
        Asked(trial, "a", 0, {"method": "last"}, time=BEGAN + at),
        Told(
            trial, "complete", {"val_accuracy": accuracy, "peak_bytes": size}, time=BEGAN + at + 1
        ),
    ]


def test_verdicts_follow_the_front(record) -> None:
    steps = [
        (complete("a-0", 0.5, 50, 0), {"a-0": "front"}),
        (complete("a-1", 0.4, 60, 2), {"a-0": "front", "a-1": "dominated"}),
        (complete("a-2", 0.6, 40, 4), {"a-0": "dominated", "a-1": "dominated", "a-2": "front"}),
        ([Asked("a-3", "a", 3, {}, time=BEGAN + 6)], {"a-2": "front", "a-3": None}),
    ]
    for events, expected in steps:
        mirror(record, events)  # each by a process of its own, which knows what is in the store
        runs = by_name(client_of(record.directory))
        found = {trial: runs[trial].data.tags.get("pareto") for trial in expected}
        assert found == expected
        assert runs["a-0"].info.status == "FINISHED"


def test_verdict_that_was_lost_is_set_again(record) -> None:
    mirror(record, complete("a-0", 0.5, 50, 0))
    client = client_of(record.directory)
    client.delete_tag(by_name(client)["a-0"].info.run_id, "pareto")
    mirror(record)
    assert by_name(client)["a-0"].data.tags["pareto"] == "front"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0.5), (math.nan, None), (math.inf, None), (None, None), ([1, 2], "[1, 2]"),
     (HOSTILE, HOSTILE), (True, True)],
)  # fmt: skip
def test_table_has_single_values_that_json_knows(value, expected) -> None:
    point = Point("a-0", {"x": value}, {"val_accuracy": 0.5, "peak_bytes": 5})
    table = json.loads(front_json([point], OBJECTIVES), parse_constant=pytest.fail)
    assert dict(zip(table["columns"], table["data"][0], strict=True))["x"] == expected


def test_empty_table_has_columns() -> None:
    assert json.loads(front_json([], OBJECTIVES)) == {
        "columns": ["trial", "val_accuracy", "peak_bytes"], "data": [],
    }  # fmt: skip


@pytest.mark.parametrize(("count", "name"), [(0, "a"), (3, "a"), (400, "a"), (3, HOSTILE * 100)])
def test_description_fits_into_a_tag(count, name) -> None:
    best = [
        Point(f"{name}-{n}", {"method": "last"}, {"val_accuracy": n, "peak_bytes": n})
        for n in range(count)
    ]
    (text,) = description_tags("1", "id", best, OBJECTIVES).values()
    assert len(text) <= 8000
    assert ("\n![Pareto front](" in text) == (count > 0)
    rows = sum("last" in line for line in text.splitlines())
    assert (f"and {count - rows} more" in text) == (rows < count)
