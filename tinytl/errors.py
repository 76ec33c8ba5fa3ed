"""Every error a user can cause.

The text of each is whole sentences that name the thing, the rule it broke, the value found, the
valid choices, and what to do; the command line prints it as it is and shows no traceback.
"""

import difflib
from collections.abc import Iterable, Sequence


class TinyTLError(Exception):
    """Base of the errors that a user can cause and mend."""


class ConfigError(TinyTLError):
    """A configuration breaks one or more rules.

    Attributes:
        problems: One sentence for each broken rule, all that were found at once.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(TinyTLError):
    """A dataset is missing, or not of the shape it must have."""


class WeightsError(TinyTLError):
    """A weights file is missing, corrupt, or made for another network."""


class DownloadError(TinyTLError):
    """A file cannot be fetched, or is not the one that was expected."""


class TrainingError(TinyTLError):
    """Training cannot go on, for example because the loss is not a number."""


class StorageError(TinyTLError):
    """Something could not be written or read back, for example because the disk is full."""


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> str:
    """Returns the sentence that says that `name` is no known `kind`, and which names are."""
    known = sorted(choices)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}: choose one of {', '.join(known)}{hint}"
