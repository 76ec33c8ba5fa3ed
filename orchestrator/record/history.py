"""What the events of a sweep say about each trial."""

from dataclasses import dataclass, field

from orchestrator.record import Asked, Event, Reported, Told


@dataclass
class History:
    """The newest event of each kind of each trial.

    Attributes:
        since: When the process that runs the sweep began, in seconds since 1970; the pace is that
            of the epochs reported since then.
        asked: By trial, in the order of the events.
        reported: By trial.
        told: By trial, in the order of the events.
        epochs: How many epochs were reported since then.
        first_report: When the first of them was.
    """

    since: float = 0.0
    asked: dict[str, Asked] = field(default_factory=dict)
    reported: dict[str, Reported] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    epochs: int = 0
    first_report: float = 0.0

    def add(self, event: Event) -> None:
        """Takes the next event."""
        if isinstance(event, Asked):
            self.asked[event.trial] = event
        elif isinstance(event, Told):
            self.told[event.trial] = event
        else:
            self.reported[event.trial] = event
            if event.time >= self.since:
                self.epochs += 1
                self.first_report = self.first_report or event.time

    @property
    def unfinished(self) -> dict[str, int]:
        """The trials that were asked for and have not ended, with the last epoch they reported."""
        return {
            trial: self.reported[trial].epoch if trial in self.reported else 0
            for trial in self.asked
            if trial not in self.told
        }

    def heard(self, trial: str) -> float:
        """Returns when a trial was last heard of before it ended, in seconds since 1970."""
        return (self.reported.get(trial) or self.asked[trial]).time

    def began(self) -> list[tuple[str, float]]:
        """Returns each study with the time of its first trial."""
        first: dict[str, float] = {}
        for asked in self.asked.values():
            first.setdefault(asked.study, asked.time)
        return list(first.items())

    def ends(self) -> list[Event]:
        """Returns all events but the reports, each trial's asked before its told."""
        return [*self.asked.values(), *self.told.values()]
