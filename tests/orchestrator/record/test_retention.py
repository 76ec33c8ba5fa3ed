"""Checkpoints stay where a trial runs or is on a front, and nowhere else."""

import io
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.fronts.pareto import front, points
from orchestrator.record import Asked, SweepRecord, Told
from orchestrator.record.retention import Retention, disk_bytes
from tests.sweeps import events, run, states
from tinytl.finetune import CHECKPOINT

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
SIZE = 1000


class Story:
    """A sweep of which only the ends of trials are told."""

    def __init__(self, directory: Path) -> None:
        self.record = SweepRecord.create(directory, "name: story\n")
        self.retention = Retention(self.record, OBJECTIVES)

    def ask(self, trial: str, study: str = "a", confirms: str | None = None) -> None:
        self.record.append(Asked(trial, study, 0, {}, None, confirms))
        checkpoint = self.record.trial_directory(trial) / CHECKPOINT
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(bytes(SIZE))
        self.retention.update()

    def tell(self, trial: str, accuracy: float, peak_bytes: int, state: str = "complete") -> None:
        metrics = {"val_accuracy": accuracy, "peak_bytes": peak_bytes}
        self.record.append(Told(trial, state, metrics))
        self.retention.update()

    def kept(self) -> str:
        """The trials that have a checkpoint; each is named by a letter."""
        return "".join(sorted(path.name for path in (self.record.directory / "trials").iterdir()))


@pytest.fixture
def story(tmp_path: Path):
    story = Story(tmp_path / "run")
    yield story
    story.record.close()


ENDS = [  # trial, study, accuracy, bytes, state, kept after it
    ("a", "x", 0.5, 5, "complete", "abcdefgh"),
    ("b", "x", 0.4, 6, "complete", "acdefgh"),  # worse in both
    ("c", "x", 0.4, 4, "complete", "acdefgh"),  # another member
    ("d", "x", 0.6, 4, "complete", "defgh"),  # better than both of them
    ("e", "y", 0.1, 9, "complete", "defgh"),  # in a study of its own
    ("f", "x", 0.9, 1, "stopped", "degh"),
    ("g", "x", 0.9, 1, "infeasible", "deh"),
    ("h", "x", 0.9, 1, "failed", "de"),
]


def test_each_end_of_a_trial(story: Story) -> None:
    for trial, study, *_ in ENDS:
        story.ask(trial, study)
    for trial, _, accuracy, peak_bytes, state, kept in ENDS:
        story.tell(trial, accuracy, peak_bytes, state)
        assert story.kept() == kept
    assert (story.retention.trials, story.retention.freed_bytes) == (6, 6 * SIZE)
    stay = {point.trial for found in points(story.record.events()).values()
            for point in front(found, OBJECTIVES)}  # fmt: skip
    assert set(story.kept()) == stay


def test_a_confirming_trial_drives_no_member_off_and_keeps_nothing(story: Story) -> None:
    story.ask("a")
    story.tell("a", 0.5, 5)
    story.ask("b", confirms="a")
    story.tell("b", 0.9, 5)
    assert story.kept() == "a"


def test_what_an_earlier_process_left_is_deleted(story: Story) -> None:
    story.ask("a")
    story.ask("b")
    story.ask("c")
    story.record.append(Told("a", "complete", {"val_accuracy": 0.5, "peak_bytes": 5}))
    story.record.append(Told("b", "complete", {"val_accuracy": 0.6, "peak_bytes": 4}))
    again = Retention(story.record, OBJECTIVES)
    again.update()
    assert story.kept() == "bc"
    assert (again.trials, again.freed_bytes) == (1, SIZE)


def test_what_cannot_be_deleted_ends_nothing(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.ask("a")
    monkeypatch.setattr("os.unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    story.tell("a", 0.5, 5, "failed")
    assert story.kept() == "a"
    assert story.retention.trials == 0


def test_the_size_of_nothing_is_zero(tmp_path: Path) -> None:
    assert disk_bytes(tmp_path / "none") == 0
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(7))
    assert disk_bytes(tmp_path) == 7


def test_a_sweep_keeps_the_front_and_goes_on_without_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, log = tmp_path / "run", io.StringIO()
    assert run(directory, "local", search={"trials": 4}, log=log)
    members = {p.trial for p in front(points(events(directory))["digits"], OBJECTIVES)}
    assert 0 < len(members) < 4
    kept = {
        path.parent.name: path.stat().st_size for path in directory.glob(f"trials/*/{CHECKPOINT}")
    }
    assert kept.keys() == members
    assert f"the checkpoints of {4 - len(members)} trials that have ended" in log.getvalue()
    assert run(directory, "local", search={"trials": 5}, resume=True, confirm=1)
    now = {p.trial for p in front(points(events(directory))["digits"], OBJECTIVES)}
    assert {path.name for path in (directory / "trials").iterdir()} == now
    assert states(directory) == {"complete": 5 + len(now)}
    with pytest.raises(SystemExit) as exit:
        main(["front", str(directory), "--budget", "1GB"])
    assert not exit.value.code
    assert "train it: tinytl train --from" in capsys.readouterr().out
