"""What a sweep's studies suggest, each with the memory that it will need."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.inputs.site import Site
from orchestrator.record import Asked
from orchestrator.search import KnownMemory, Study
from orchestrator.search.warm_start import earlier_trials
from orchestrator.spec import SweepSpec
from tinytl.errors import TinyTLError


@dataclass(frozen=True)
class Suggestion:
    """What a study suggested; `problem` says why it cannot be built."""

    study: str
    number: int
    params: dict[str, Any]
    predicted_bytes: int | None
    problem: str | None


class Suggestions:
    """The studies of a sweep, one for each dataset.

    Args:
        spec: The sweep file.
        site: Where it runs.

    Attributes:
        studies: By dataset.

    Raises:
        StorageError: If the record of the sweep that is learned from is damaged.
    """

    def __init__(self, spec: SweepSpec, site: Site) -> None:
        self._spec, self._site = spec, site
        self._predicted_bytes: dict[str, int] = {}
        self.studies = {
            name: Study(name, spec.space, spec.objectives, spec.search, self._known_memory(name))
            for name in spec.datasets
        }
        self._asked = Counter(dict.fromkeys(spec.datasets, 0))
        self._exhausted: set[str] = set()
        self._learn_from_earlier()

    def next(self) -> Suggestion | None:
        """Returns what the study with the fewest trials suggests, among those that may have more.

        None means that no study may.
        """
        most = self._spec.search.trials
        while True:
            able = [
                study
                for study, count in self._asked.items()
                if study not in self._exhausted and (most is None or count < most)
            ]
            if not able:
                return None
            study = min(able, key=lambda study: self._asked[study])
            asked = self.studies[study].ask()
            if asked is not None:
                self._asked[study] += 1
                return Suggestion(study, *asked, *self._predict(study, asked[1]))
            self._exhausted.add(study)

    def note(self, event: Asked, *, replayed: bool) -> None:
        """Notes a trial that was asked for; a study has to be told only of one that is replayed."""
        if event.predicted_bytes is not None:
            self._predicted_bytes[_key(event.study, event.params)] = event.predicted_bytes
        if replayed and event.confirms is None:
            self._asked[event.study] += 1
            self.studies[event.study].replay_ask(event.number, event.params)

    def _learn_from_earlier(self) -> None:
        if self._spec.search.warm_start is None:
            return
        directory, limits = Path(self._spec.search.warm_start), self._spec.limits.of_metrics()
        for name, study in self.studies.items():
            for earlier in earlier_trials(
                directory, name, self._spec.space, self._spec.objectives, limits
            ):
                study.add_earlier(earlier)

    def _known_memory(self, study: str) -> KnownMemory:
        return KnownMemory(
            lambda params: self._predict(study, params)[0], self._spec.limits.peak_bytes
        )

    def _predict(self, study: str, params: Mapping[str, object]) -> tuple[int | None, str | None]:
        """Returns the predicted memory of a trial, or why it cannot be built."""
        key = _key(study, params)
        if key in self._predicted_bytes:
            return self._predicted_bytes[key], None
        try:
            config = self._spec.finetune_config(study, params)
            classes, threads = self._site.classes[study], self._spec.search.threads
            predicted_bytes = self._site.predict(config, classes, self._site.device, threads)
        except TinyTLError as error:
            return None, str(error)
        self._predicted_bytes[key] = predicted_bytes
        return predicted_bytes, None


def _key(study: str, params: Mapping[str, object]) -> str:
    return f"{study}/{sorted(params.items())}"
