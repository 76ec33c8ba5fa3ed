"""The settings of a cluster, from which every file for it is made."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.spec.file import parse_yaml
from orchestrator.spec.settings import Section
from tinytl.config import problems_of
from tinytl.errors import ConfigError
from tinytl.sizes import Bytes

AbsolutePath = Annotated[str, Field(pattern=r"^/")]
_Text = Annotated[str, Field(min_length=1)]


class NodeSettings(Section):
    """The nodes, all alike: a sweep has the same work for them from its start to its end.

    Attributes:
        count: How many, Ray's head included.
        cpus: Processors of each.
        gpus: GPUs of each.
        memory_bytes: Memory of each.
    """

    count: Annotated[int, Field(ge=1)]
    cpus: Annotated[int, Field(ge=1)]
    gpus: Annotated[int, Field(ge=0)]
    memory_bytes: Bytes


class KubeRaySettings(Section):
    """What only KubeRay needs.

    Attributes:
        namespace: Where the job and its pods are.
        storage_claim: The PersistentVolumeClaim that all pods mount.
    """

    namespace: _Text
    storage_claim: _Text


class SlurmSettings(Section):
    """What only Slurm needs.

    Attributes:
        partition: None for the cluster's default.
        account: None for the user's default.
        time: The longest time that the nodes are held.
        interface: Network interface between the nodes; None for the first private address.
    """

    partition: _Text | None
    account: _Text | None
    time: Annotated[str, Field(pattern=r"^[0-9]+([:-][0-9]+)*$")]
    interface: Annotated[str, Field(pattern=r"^[A-Za-z0-9._@-]+$")] | None


class RayUpSettings(Section):
    """What only Ray's cluster launcher needs.

    Attributes:
        provider: Where machines come from, in the words of Ray's cluster file.
        machine: A machine, in the words of the cloud; empty for machines of one's own.
        ssh_user: Who logs in.
        ssh_private_key: With which key; None lets Ray make one (clouds) or ssh choose.
        prepare: Shell commands on each new machine, outside a container.
    """

    provider: dict[str, Any]
    machine: dict[str, Any]
    ssh_user: _Text
    ssh_private_key: _Text | None
    prepare: list[str]

    @property
    def own_machines(self) -> bool:
        """Whether the machines are there already, so that none is rented."""
        return self.provider.get("type") == "local"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "type" not in self.provider:
            raise PydanticCustomError("provider", "provider must have a type: local, aws, gcp, ...")
        if self.own_machines and not {"head_ip", "worker_ips"} <= self.provider.keys():
            raise PydanticCustomError(
                "provider", "provider of type local must have head_ip and worker_ips"
            )
        if not self.own_machines and not self.machine:
            raise PydanticCustomError(
                "machine", "machine must describe one, such as {{InstanceType: m5.2xlarge}} on aws"
            )
        return self


class ClusterSettings(Section):
    """A cluster.

    Attributes:
        image: Container image that has this package and Ray; None for none.
        storage: Folder that all nodes see at this path.
        cache: Folder on each node's own disk.
        setup: Shell commands before Ray starts on a node.
        node: The nodes.
        kuberay: For KubeRay.
        slurm: For Slurm.
        ray_up: For Ray's cluster launcher.
    """

    image: _Text | None
    storage: AbsolutePath
    cache: AbsolutePath
    setup: list[str]
    node: NodeSettings
    kuberay: KubeRaySettings
    slurm: SlurmSettings
    ray_up: RayUpSettings


def default_settings_text() -> str:
    """Returns the defaults as a settings file, with what each setting means."""
    return (resources.files(__package__) / "defaults.yaml").read_text(encoding="utf-8")


def load_settings(file: Path | None) -> ClusterSettings:
    """Reads a settings file; what it leaves out has its default.

    Args:
        file: A YAML file; None for the defaults.

    Raises:
        ConfigError: If it cannot be read, or with one sentence for each rule that is broken.
    """
    raw: dict[str, Any] = parse_yaml(default_settings_text(), "the defaults")
    where = "settings"
    if file is not None:
        where = str(file)
        raw = _merged(raw, _read(file))
    try:
        return ClusterSettings.model_validate(raw)
    except ValidationError as error:
        problems = [f"{where}: {problem}" for problem in problems_of(error)]
        problems.append("`tinytl submit --print-settings` shows all settings")
        raise ConfigError(problems) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}; give a YAML file in UTF-8") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must be a mapping of settings, but got {content!r}")
    return content


def _merged(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns the defaults with what is given; sections are merged, other values replaced."""
    sections = {
        key: {**defaults[key], **value}
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return {**defaults, **given, **sections}
