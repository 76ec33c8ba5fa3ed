"""Bytes as people write them."""

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

_UNITS = {"b": 1}
for _power, _prefix in enumerate("kmgt", start=1):
    _UNITS |= {f"{_prefix}b": 1000**_power, f"{_prefix}ib": 1024**_power}


def parse_bytes(value: Any) -> Any:
    """Returns the bytes of a text such as `36.5 MB` (10^6) or `512KiB` (2^10).

    What is no text is returned as it is.

    Raises:
        PydanticCustomError: If the text is no whole number of bytes with a unit.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]+)\s*", value)
    try:
        number = Decimal(match[1]) * _UNITS[match[2].lower()] if match else None
    except (InvalidOperation, KeyError):
        number = None
    if number is None or number != int(number):
        raise PydanticCustomError(
            "bytes", "must be whole bytes: a number, or a text such as 64MB, 1.5 GB or 512KiB"
        )
    return int(number)


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=1)]
