import os
import re
from pathlib import Path

import pytest

from orchestrator.ui.ports import choose_port, holder
from tinytl.errors import ConfigError

LOOPBACK = "127.0.0.1"


def test_port_in_use_is_named_with_its_holder(taken):
    with pytest.raises(ConfigError) as error:
        choose_port(LOOPBACK, taken)
    assert f"port {taken} on {LOOPBACK} is in use" in str(error.value)
    assert "--port" in str(error.value)
    if Path("/proc/net/tcp").exists():
        assert f"by process {os.getpid()} (" in str(error.value)


def test_port_free_is_taken_as_it_is(free):
    assert choose_port(LOOPBACK, free) == free
    assert holder(free) is None


def test_without_a_port_the_next_free_one_is_taken(monkeypatch, taken):
    monkeypatch.setattr("orchestrator.ui.ports.DEFAULT_PORT", taken)
    assert taken < choose_port(LOOPBACK, None) < taken + 100


def test_all_ports_in_use(monkeypatch, taken):
    monkeypatch.setattr("orchestrator.ui.ports.DEFAULT_PORT", taken)
    monkeypatch.setattr("orchestrator.ui.ports._TRIED", 1)
    with pytest.raises(ConfigError, match="all in use"):
        choose_port(LOOPBACK, None)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "not a host"])
def test_host_of_another_machine_is_refused(host):
    with pytest.raises(ConfigError, match=re.escape(f"of {host}")) as error:
        choose_port(host, None)
    assert "--host" in str(error.value)
