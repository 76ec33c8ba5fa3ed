"""Trials of the table go as they went; others as a model expects, whose error is stated."""

import random
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.simulation.oracle import Oracle
from tinytl.errors import ConfigError


def test_the_table_is_exact(spec, rows):
    oracle = Oracle(spec, "digits", rows)
    for row in rows:
        course = oracle.course(row.params)
        assert (course.peak_bytes, course.accuracy, course.seconds) == (
            row.peak_bytes, row.accuracy, row.seconds,
        )  # fmt: skip


def test_others_are_expected_within_the_stated_error(spec, rows, truth):
    oracle, rng = Oracle(spec, "digits", rows), random.Random(7)
    unseen = [truth(spec.space.sample(rng)) for _ in range(60)]
    courses = [oracle.course(row.params) for row in unseen]
    last = [c.accuracy[-1] - r.accuracy[-1] for c, r in zip(courses, unseen, strict=True)]
    share = [c.peak_bytes / r.peak_bytes - 1 for c, r in zip(courses, unseen, strict=True)]
    pace = [sum(c.seconds) / sum(r.seconds) - 1 for c, r in zip(courses, unseen, strict=True)]
    errors = oracle.errors
    assert np.sqrt(np.mean(np.square(last))) < 1.5 * errors["val_accuracy"]
    assert np.median(np.abs(share)) < 2 * errors["peak_bytes"]
    assert np.median(np.abs(pace)) < 2 * errors["seconds"]
    assert errors["val_accuracy"] < 0.5 * errors["val_accuracy_deviation"]
    assert "80 recorded trials in the search space, 80 with all 4 epochs" in oracle.describe()


def test_what_failed_fails_again(spec, rows):
    failed = replace(rows[0], state="failed", accuracy=(0.1,), seconds=(1.0,))
    assert len(Oracle(spec, "digits", [failed, *rows[1:]]).course(failed.params).accuracy) == 1


def test_what_was_stopped_or_not_run_is_expected_to_its_end(spec, rows):
    stopped = replace(rows[0], state="stopped", accuracy=(0.1,), seconds=(1.0,))
    too_big = replace(rows[1], state="infeasible", accuracy=(), seconds=())
    oracle = Oracle(spec, "digits", [stopped, too_big, *rows[2:]])
    for row in (stopped, too_big):
        assert len(oracle.course(row.params).accuracy) == 4


def test_too_few_rows(spec, rows):
    other = [replace(row, study="pets") for row in rows[9:40]]
    outside = [replace(row, params={**row.params, "resolution": 64}) for row in rows[40:]]
    with pytest.raises(ConfigError, match=r"10 trials of digits .* needed, but there are 9 of"):
        Oracle(spec, "digits", [*rows[:9], *other, *outside])
