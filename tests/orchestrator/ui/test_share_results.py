"""docs/how_to/share_results.md and the files that it ships."""

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from orchestrator.ui.auth import AUTH_SETTING

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/how_to/share_results.md"
FOLDER = PAGE.with_suffix("")
COMPOSE = (FOLDER / "compose.yaml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
EXACT = r"v?\d+\.\d+(\.\d+)?(-\w+)*"
SECRETS = {"ADMIN_PASSWORD", "SERVER_SECRET", "POSTGRES_PASSWORD", "STORAGE_SECRET"}


def shell_blocks():
    """The blocks of the page that can be run as they are."""
    return re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(script, where):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euc", script]
    subprocess.run(command, cwd=where, check=True, timeout=60, env=os.environ | {"PATH": path})


def test_versions_are_exact():
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    images += re.findall(r"^FROM (\S+)", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 3
    assert all(re.fullmatch(rf"[\w./-]+:{EXACT}", image) for image in images), images
    packages = re.search(r" \. (.*) \\\n", (FOLDER / "Dockerfile").read_text())[1].split()
    assert len(packages) == 2
    assert all(re.fullmatch(rf'"?[\w\[\]]+=={EXACT}"?', package) for package in packages)


def test_only_the_server_listens_and_only_on_loopback_unless_it_is_said():
    assert {name: service.get("ports") for name, service in SERVICES.items()} == {
        "mlflow": ["${LISTEN:-127.0.0.1}:5000:5000"],
        "postgres": None,
        "storage": None,
    }
    assert not any("network_mode" in service for service in SERVICES.values())
    assert SERVICES["postgres"]["networks"] == SERVICES["storage"]["networks"] == ["back"]
    assert yaml.safe_load(COMPOSE)["networks"]["back"] == {"internal": True}


def test_no_password_has_a_default_or_is_written_down():
    found = {
        name: value
        for service in SERVICES.values()
        for name, value in service["environment"].items()
        if re.search("PASSWORD|SECRET", name)
    }
    assert len(found) == 6
    assert all(re.fullmatch(r"\$\{\w+:\?[^}]+\}", value) for value in found.values()), found
    assert {re.match(r"\$\{(\w+)", value)[1] for value in found.values()} == SECRETS
    assert not re.search("PASSWORD|SECRET", " ".join(SERVICES["mlflow"]["command"]))


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_page_makes_every_password_that_the_server_needs(tmp_path):
    script = next(block for block in shell_blocks() if "openssl" in block)
    (tmp_path / FOLDER.relative_to(ROOT)).mkdir(parents=True)
    run(script, tmp_path)
    file = tmp_path / FOLDER.relative_to(ROOT) / ".env"
    made = dict(line.split("=") for line in file.read_text().splitlines())
    assert made.pop("PUBLIC_NAME") == "lab.example"
    assert made.keys() == SECRETS
    assert len({*made.values()}) == 4
    assert min(map(len, made.values())) == 48
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {*re.findall(r"\$\{(\w+)", COMPOSE)} == SECRETS | {"PUBLIC_NAME", "LISTEN"}
    assert ".env" in (FOLDER / ".gitignore").read_text().split()


def test_image_gets_all_that_the_package_is_made_of():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"]}
    needed |= {*project["project"]["license-files"]}
    needed |= {*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    copied = re.findall(r"^COPY (.*) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == needed
    assert all((ROOT / name).exists() for name in needed)
    build = SERVICES["mlflow"]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).samefile(FOLDER / "Dockerfile")


@pytest.mark.integration
def test_mlflow_takes_the_server_s_command_and_accounts(tmp_path, monkeypatch):
    from mlflow.cli import server
    from mlflow.server.auth.config import read_auth_config

    program, command, *options = SERVICES["mlflow"]["command"]
    assert (program, command) == ("mlflow", "server")
    given = server.make_context(command, options).params
    assert (given["app_name"], given["workers"]) == ("tinytl", "1")
    settings = SERVICES["mlflow"]["environment"]
    assert settings[AUTH_SETTING] == "1"

    accounts = yaml.safe_load(COMPOSE)["configs"]["accounts"]["content"]
    parsed = ConfigParser()
    parsed.read_string(accounts)
    assert "admin_password" not in parsed["mlflow"]
    (tmp_path / "accounts.ini").write_text(accounts)
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(tmp_path / "accounts.ini"))
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "x")
    config = read_auth_config()
    assert (config.admin_username, config.admin_password) == ("admin", "x")
    assert config.database_uri == given["backend_store_uri"]


def test_backup_has_what_a_copy_of_the_file_lacks(tmp_path):
    store, copy = tmp_path / "runs/my/mlflow.db", tmp_path / "copy.db"
    store.parent.mkdir(parents=True)
    with closing(sqlite3.connect(store)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE runs (name)")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("INSERT INTO runs VALUES ('newest')")
        writer.commit()
        writer.execute("INSERT INTO runs VALUES ('half written')")
        shutil.copy(store, copy)
        script = next(block for block in shell_blocks() if "sqlite3" in block)
        run(script, tmp_path)

    def names(file):
        with closing(sqlite3.connect(file)) as database:
            return [name for (name,) in database.execute("SELECT name FROM runs")]

    assert names(copy) == []
    assert names(tmp_path / "mlflow-backup.db") == ["newest"]
