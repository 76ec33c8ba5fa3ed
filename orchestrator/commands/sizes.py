"""Sizes that options give."""

from pydantic_core import PydanticCustomError

from tinytl.errors import ConfigError
from tinytl.sizes import parse_bytes


def parse_size(option: str, text: str) -> int:
    """Returns the bytes of an option's text, such as 36MB, or 36000000.

    Raises:
        ConfigError: If it is no size.
    """
    try:
        return int(parse_bytes(int(text) if text.isdecimal() else text))
    except PydanticCustomError as error:
        raise ConfigError(f"{option}: {error.message()}, but got {text!r}") from None
