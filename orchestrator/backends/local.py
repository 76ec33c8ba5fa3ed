"""Runs a sweep in this process, one trial after the other: for tests and debugging."""

from orchestrator.resources.admission import RanOutOfMemoryError
from orchestrator.sweep import Sweep
from orchestrator.trial import RunTrial, reason_of, run_trial
from tinytl.errors import StorageError


def run(sweep: Sweep, *, run_trial: RunTrial = run_trial) -> None:
    """Runs until no trial is left.

    Args:
        sweep: The sweep.
        run_trial: Runs one trial.

    Raises:
        StorageError: If the record or a checkpoint cannot be written.
    """
    while (request := sweep.ask()) is not None:
        reports = run_trial(request)
        while True:
            try:
                report = next(reports)
            except StorageError:  # no fault of the trial's, which --resume takes up again
                raise
            except RanOutOfMemoryError as error:
                sweep.ran_out(request.trial, error.reached_bytes, str(error))
                break
            except Exception as error:  # a trial that fails must not end the sweep
                sweep.fail(request.trial, reason_of(error))
                break
            if not sweep.report(request.trial, report):
                break
