import socket

import pytest

from orchestrator.ui.address import Address, check_reach, is_loopback, parse_allowed
from tinytl.errors import ConfigError


def options(address):
    flat = iter(address.options)
    return dict(zip(flat, flat, strict=True))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
        ("no.such.host.invalid", False),
        ("a" * 80, False),
    ],
)
def test_who_reaches_a_host(host, expected):
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("needs IPv6")
    assert is_loopback(host) is expected


def test_others_are_let_in_only_under_names():
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0 lets others in, which needs --allow"):
        check_reach("0.0.0.0", ())
    check_reach("0.0.0.0", ("lab.example",))
    check_reach("127.0.0.1", ())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, ()),
        ("", ()),
        (" Lab.example , lab:8080,", ("lab.example", "lab:8080")),
        ("*.lab.example,192.168.*", ("*.lab.example", "192.168.*")),
        ("[fd00::1]", ("[fd00::1]",)),
    ],
)
def test_names(text, names):
    assert parse_allowed(text) == names


@pytest.mark.parametrize("wrong", ["*", "*.*", "http://lab", "lab/a", "lab:port", "a b", "::1"])
def test_what_is_no_name_is_refused(wrong):
    with pytest.raises(ConfigError, match="--allowed-hosts must be names") as error:
        parse_allowed(f"lab.example,{wrong}")
    assert str(error.value).endswith(f"but got {wrong}")


def test_without_names_mlflow_s_own_defaults_hold():
    address = Address("127.0.0.1", 5001)
    assert options(address) == {"--host": "127.0.0.1", "--port": "5001"}
    assert address.url == address.link == "http://127.0.0.1:5001"


def test_names_are_given_with_port_and_as_origins():
    given = options(Address("0.0.0.0", 5001, ("lab", "lab.example:8080")))
    own = ["localhost:5001", "127.0.0.1:5001", "[::1]:5001"]
    hosts = ["lab", "lab:5001", "lab.example:8080"]
    assert given["--allowed-hosts"].split(",") == hosts + own
    origins = given["--cors-allowed-origins"].split(",")
    assert set(origins) == {f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")}


@pytest.mark.parametrize(
    ("host", "allowed", "url", "link"),
    [
        ("0.0.0.0", ("10.*", "lab"), "http://127.0.0.1:5001", "http://lab:5001"),
        ("0.0.0.0", ("10.*",), "http://127.0.0.1:5001", "http://127.0.0.1:5001"),
        ("::", ("lab:80",), "http://[::1]:5001", "http://lab:80"),
        ("127.0.0.1", ("lab",), "http://127.0.0.1:5001", "http://127.0.0.1:5001"),
    ],
)
def test_links_are_for_those_for_whom_it_listens(host, allowed, url, link):
    address = Address(host, 5001, allowed)
    assert (address.url, address.link) == (url, link)
