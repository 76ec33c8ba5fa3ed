import pytest

from orchestrator.spec import load_spec
from orchestrator.spec.settings import parse_bytes

BYTES = [
    ("64MB", 64 * 10**6),
    ("36.5 MB", 36_500_000),
    ("1GB", 10**9),
    ("512KiB", 512 * 1024),
    ("1.5 GiB", 3 * 2**29),
    (" 7 b ", 7),
    ("2kb", 2000),
    (123, 123),
]


@pytest.mark.parametrize(("text", "expected"), BYTES)
def test_bytes(text, expected, base):
    assert parse_bytes(text) == expected
    assert load_spec(base, [f"limits.peak_bytes={text}"]).limits.peak_bytes == expected


SAMPLERS = [
    ([], "random"),  # as the file says
    (["search={trials: 5}"], "memory_aware"),
    (["search={trials: 5}", "objectives={peak_bytes: min, val_accuracy: max}"], "memory_aware"),
    (["search={trials: 5}", "objectives={val_accuracy: max}"], "nsga2"),
    (["search={trials: 5}", "objectives={val_accuracy: max, saved_bytes: min}"], "nsga2"),
    (["search={trials: 5, sampler: nsga2}"], "nsga2"),
]


@pytest.mark.parametrize(("overrides", "expected"), SAMPLERS)
def test_the_sampler_fits_the_objectives(overrides, expected, base, write):
    spec = load_spec(base, overrides)
    assert spec.search.sampler == expected
    assert load_spec(write(spec.resolved_yaml(), "again.yaml")) == spec


def test_memory_aware_needs_its_objectives(base, problems):
    (problem,) = problems(base, "search.sampler=memory_aware", "objectives={val_accuracy: max}")
    assert problem == (
        "search.sampler: memory_aware searches val_accuracy against peak_bytes, but the objectives "
        "are val_accuracy; choose nsga2 or another sampler"
    )
