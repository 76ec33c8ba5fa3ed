"""A sweep as a job of a Ray cluster that is there already."""

from pathlib import Path

from orchestrator.cluster.job import SCRIPT_FILE, Job
from orchestrator.cluster.submission import Submission
from tinytl.errors import ConfigError

TOKEN_FILE = Path("~/.ray/auth_token")  # where Ray looks unless a variable says otherwise
WITH_TOKEN = {"RAY_AUTH_MODE": "token"}


def on_cluster(job: Job, address: str) -> Submission:
    """Returns the submission to a running cluster.

    Args:
        job: The sweep.
        address: http:// or https:// and the head's dashboard, or ray:// and its client server.

    Raises:
        ConfigError: If the address is none of these.
    """
    scheme, separator, host = address.partition("://")
    if scheme not in ("http", "https", "ray") or not separator or not host:
        raise ConfigError(
            f"--cluster: must be http://HOST:8265 (Ray's dashboard) or ray://HOST:10001, but got "
            f"{address!r}; a tunnel to the dashboard makes it http://127.0.0.1:8265"
        )
    command = ["ray", "job", "submit", "--address", address, "--working-dir", ".", "--no-wait"]
    return Submission(
        files=job.files(),
        commands=[[*command, "--", "sh", SCRIPT_FILE]],
        follow=f"follow it with `ray job logs --follow --address {address}` and the name above",
        environment=WITH_TOKEN if TOKEN_FILE.expanduser().exists() else {},
    )
