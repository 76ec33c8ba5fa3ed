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
