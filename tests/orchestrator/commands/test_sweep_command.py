"""`tinytl sweep`: a mistake on the command line is one sentence."""

import pytest

from orchestrator.cli import main


@pytest.mark.parametrize("size", ["lots", "1.5", "20 XB", "-1GB"])
def test_a_cache_limit_must_be_a_size(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["sweep", "digits", f"--cache-limit={size}"])
    assert exit.value.code == 2
    expected = "--cache-limit: must be whole bytes: a number, or a text such as 64MB"
    error = capsys.readouterr().err
    assert expected in error and repr(size) in error
