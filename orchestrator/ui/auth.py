"""Who may see what: MLflow's own users and permissions, in front of its server and of our page.

The command prepares what the server needs (`prepare`); inside the server `compose` puts MLflow's
basic auth in front of all routes.
"""

import secrets
from collections.abc import Sequence
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path
from typing import Any

from tinytl.errors import ConfigError
from tinytl.storage import not_written

AUTH_SETTING = "TINYTL_UI_AUTH"  # tells the server's process that auth is asked for
ACCOUNTS_FILE = "auth.ini"
ADMIN = "admin"
_DATABASE = "auth.db"
_SECTION = "mlflow"


def compose(app: Any, data_paths: Sequence[str], page_paths: Sequence[str]) -> Any:
    """Puts MLflow's basic auth in front of the app.

    Args:
        app: MLflow's Flask app, with our routes or before they are added.
        data_paths: GET routes that serve the experiment which the query's first `experiment_id`
            names, and nothing else; for who may read it.
        page_paths: GET routes that serve nothing of the store; for whoever has an account.

    Returns:
        What MLflow's factory of an app must return.
    """
    from mlflow.server import auth

    for path in page_paths:
        auth.BEFORE_REQUEST_VALIDATORS[path, "GET"] = lambda: True
    for path in data_paths:
        auth.BEFORE_REQUEST_VALIDATORS[path, "GET"] = auth.validate_can_read_experiment
        # Flask answers HEAD wherever it answers GET, and the length of data is data
        auth.BEFORE_REQUEST_VALIDATORS[path, "HEAD"] = lambda: False
    return auth.create_app(app)


def prepare(directory: Path) -> dict[str, str | None]:
    """Makes sure that the directory has accounts, with a password of its own for the admin.

    Returns:
        The settings of a server's environment; None is for what must not be set.

    Raises:
        ConfigError: If the accounts' file is damaged or missing.
        StorageError: If it cannot be written.
    """
    return {
        AUTH_SETTING: "1",
        "MLFLOW_AUTH_CONFIG_PATH": str(_accounts(directory.resolve())),
        "MLFLOW_AUTH_ADMIN_USERNAME": None,  # these would win over the file
        "MLFLOW_AUTH_ADMIN_PASSWORD": None,
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }


def _accounts(directory: Path) -> Path:
    file, database = directory / ACCOUNTS_FILE, directory / _DATABASE
    if database.exists() and not file.exists():
        raise ConfigError(
            f"{database} has accounts, but {file.name}, which says how they are used, is gone; put "
            f"it back, or delete {database.name} to start with no accounts but a new {ADMIN}"
        )
    config = _read(file)
    # the directory may have been moved; ConfigParser takes % for a reference
    config[_SECTION]["database_uri"] = f"sqlite:///{database}".replace("%", "%%")
    partial = file.with_name(f"{file.name}.partial")
    try:
        for private in (partial, database):
            private.touch(mode=0o600)
            private.chmod(0o600)
        with partial.open("w") as stream:
            config.write(stream)
        partial.replace(file)
    except OSError as error:
        raise not_written(file, error) from None
    return file


def _read(file: Path) -> ConfigParser:
    config = ConfigParser()
    try:
        config.read(file)
    except (ConfigParserError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} must be an ini file of MLflow's auth, but cannot be read: "
            f"{' '.join(str(error).split())}; correct it"
        ) from None
    if not config.has_section(_SECTION):
        config[_SECTION] = {
            "default_permission": "NO_PERMISSIONS",
            "admin_username": ADMIN,
            "admin_password": secrets.token_urlsafe(24),
        }
    return config
