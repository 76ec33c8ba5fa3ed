import base64
import http.server
import json
import re
import secrets
import stat
import threading
import urllib.error
import urllib.request
from configparser import ConfigParser
from contextlib import nullcontext

import pytest

from orchestrator.ui.address import Address
from orchestrator.ui.auth import ACCOUNTS_FILE, AUTH_SETTING, prepare
from orchestrator.ui.ports import choose_port
from orchestrator.ui.server import Server, read_cursor, serve
from tinytl.errors import ConfigError, TinyTLError

PAGE, DATA = "/tinytl/pareto", "/tinytl/data?experiment_id=1"
PASSWORD = secrets.token_urlsafe(12)


def accounts(directory):
    config = ConfigParser()
    config.read(directory / ACCOUNTS_FILE)
    return config["mlflow"]


def test_accounts_start_with_a_password_that_nobody_else_has(tmp_path):
    settings = [prepare(tmp_path / name) for name in ("a", "b") if not (tmp_path / name).mkdir()]
    passwords = [accounts(tmp_path / name)["admin_password"] for name in ("a", "b")]
    keys = [setting["MLFLOW_FLASK_SERVER_SECRET_KEY"] for setting in settings]
    assert len({*passwords, *keys}) == 4
    assert min(map(len, passwords + keys)) >= 24
    assert settings[0][AUTH_SETTING] == "1"
    assert accounts(tmp_path / "a")["default_permission"] == "NO_PERMISSIONS"


def test_only_the_owner_reads_the_accounts(tmp_path):
    (tmp_path / ACCOUNTS_FILE).touch(mode=0o644)
    prepare(tmp_path)
    files = list(tmp_path.glob("auth.*"))
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_accounts_move_with_the_directory_and_keep_what_was_changed(tmp_path):
    (tmp_path / "a").mkdir()
    prepare(tmp_path / "a")
    before = accounts(tmp_path / "a")
    file = tmp_path / "a" / ACCOUNTS_FILE
    file.write_text(file.read_text().replace("NO_PERMISSIONS", "READ"))
    moved = (tmp_path / "a").rename(tmp_path / "50% b")
    assert prepare(moved)["MLFLOW_AUTH_CONFIG_PATH"] == str(moved / ACCOUNTS_FILE)
    after = accounts(moved)
    assert after["database_uri"] == f"sqlite:///{moved}/auth.db"
    assert after["admin_password"] == before["admin_password"]
    assert after["default_permission"] == "READ"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda file: file.unlink(), "is gone; put it back, or delete auth.db"),
        (lambda file: file.write_text("no section\n"), "must be an ini file"),
        (lambda file: file.write_bytes(b"\xff"), "must be an ini file"),
    ],
)
def test_damaged_accounts_are_no_reason_for_new_ones(tmp_path, damage, text):
    prepare(tmp_path)
    damage(tmp_path / ACCOUNTS_FILE)
    with pytest.raises(ConfigError, match=re.escape(text)):
        prepare(tmp_path)


def ask(url, user=None, body=None, **headers):
    """Returns the status of the answer."""
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.fixture(scope="module")
def closed(tmp_path_factory, tracked):
    """A server with accounts, which others reach as lab.example: its URL and its users."""
    directory = tracked(tmp_path_factory.mktemp("auth") / "sweep", [0])
    address = Address("127.0.0.1", choose_port("127.0.0.1", None), ("lab.example",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "a password of something else")
        with serve(directory, read_cursor(directory), address, auth=True):
            admin = ("admin", accounts(directory)["admin_password"])
            users = {name: (name, PASSWORD) for name in ("reader", "stranger")}
            for name in users:
                new = {"username": name, "password": PASSWORD}
                assert ask(f"{address.url}/api/2.0/mlflow/users/create", admin, new) == 200
            grant = {"username": "reader", "resource_type": "experiment"}
            grant |= {"resource_id": "1", "permission": "READ"}
            url = f"{address.url}/api/3.0/mlflow/users/permissions/grant"
            assert ask(url, admin, grant) == 200
            yield address, users | {"admin": admin, None: None}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("path", "statuses"),  # of anonymous, stranger, reader, admin
    [
        (PAGE, [401, 200, 200, 200]),
        (DATA, [401, 403, 200, 200]),
        (f"/{DATA}", [401, 403, 200, 200]),
        (DATA.replace("data", "%64ata"), [401, 403, 200, 200]),
        (f"{DATA}&experiment_id=0", [401, 403, 200, 200]),
        (f"{DATA.replace('1', '0')}&experiment_id=1", [401, 403, 403, 200]),
        ("/tinytl/data?experiment_id=99", [401, 403, 403, 200]),
        ("/tinytl/data", [401, 400, 400, 400]),
        ("/", [401, 200, 200, 200]),
        ("/api/2.0/mlflow/experiments/get?experiment_id=1", [401, 403, 200, 200]),
        ("/health", [200, 200, 200, 200]),
    ],
)
def test_who_may_see_what(closed, path, statuses):
    address, users = closed
    names = (None, "stranger", "reader", "admin")
    assert [ask(address.url + path, users[name]) for name in names] == statuses


@pytest.mark.integration
def test_passwords_that_others_know_do_not_work(closed):
    address, _ = closed
    for wrong in ("password1234", "a password of something else", ""):
        assert ask(address.url + PAGE, ("admin", wrong)) == 401


@pytest.mark.integration
@pytest.mark.parametrize(
    ("host", "status"),
    [("lab.example", 200), ("lab.example:{port}", 200), ("localhost:{port}", 200), ("evil", 403)],
)
def test_only_allowed_names_are_answered(closed, host, status):
    address, users = closed
    host = host.format(port=address.port)
    assert ask(address.url + PAGE, users["reader"], Host=host) == status


@pytest.mark.integration
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://lab.example:{port}", 200),
        ("https://lab.example", 200),
        ("http://localhost:{port}", 200),
        ("https://evil.example", 403),
    ],
)
def test_pages_of_the_server_itself_may_ask_it_and_no_others(closed, origin, status):
    address, users = closed
    url = f"{address.url}/ajax-api/2.0/mlflow/runs/search"
    origin = origin.format(port=address.port)
    assert ask(url, users["reader"], {"experiment_ids": ["1"]}, Origin=origin) == status


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.server.status)
        self.end_headers()


@pytest.mark.parametrize(
    ("status", "text"),
    [(401, None), (200, "must let nobody in"), (403, "must let nobody in"), (None, "not answer")],
)
def test_that_a_server_asks_for_passwords_is_looked_at_and_not_assumed(status, text):
    """As when MLflow finds another version of the page than the one that was installed."""
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as fake:
        fake.status = status
        server = Server(None, None, f"http://127.0.0.1:{fake.server_port}")
        if status is None:
            fake.server_close()
        else:
            threading.Thread(target=fake.handle_request, daemon=True).start()
        with pytest.raises(TinyTLError, match=text) if text else nullcontext():
            server.check_closed()
