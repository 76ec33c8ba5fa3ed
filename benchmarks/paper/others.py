"""Methods that are not here yet, with what their authors published: reads `others.yaml`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orchestrator.spec.file import read_yaml
from tinytl.config import problems_of
from tinytl.errors import ConfigError

FILE = Path(__file__).with_name("others.yaml")


class Published(BaseModel):
    """A figure.

    Attributes:
        figure: As it was published.
        of: What it is a figure of.
        beside: What it is compared with; empty where its authors do not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    figure: str
    of: str
    beside: str = ""

    def __str__(self) -> str:
        """Returns the figure for people."""
        beside = f" (beside {self.beside})" if self.beside else ""
        return f"{self.of}: {self.figure}{beside}"


class Other(BaseModel):
    """A method.

    Attributes:
        name: What it is called.
        title: Of its paper.
        venue: Where and when that appeared.
        what: What it does.
        source: Address of the abstract that the figures are from.
        published: The figures; none of them was measured here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    venue: str
    what: str
    source: str
    published: tuple[Published, ...]


def load_others(path: Path = FILE) -> list[Other]:
    """Returns the methods of a file, in its order.

    Raises:
        ConfigError: With every problem of the file.
    """
    try:
        return TypeAdapter(list[Other]).validate_python(read_yaml(path))
    except ValidationError as error:
        raise ConfigError([f"{path}: {problem}" for problem in problems_of(error)]) from None
