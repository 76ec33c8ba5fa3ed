"""A sweep's directory, the one durable truth about it, and what is read out of it."""

from orchestrator.record.directory import SWEEP_FILE, Record, SweepRecord, sweep_id
from orchestrator.record.events import (
    EVENTS_FILE,
    Asked,
    Event,
    Reported,
    State,
    Told,
    decode,
    encode,
    read_events,
)
from orchestrator.record.process import Ended, Process, read_process, request_stop, take_lock

__all__ = [
    "EVENTS_FILE",
    "SWEEP_FILE",
    "Asked",
    "Ended",
    "Event",
    "Process",
    "Record",
    "Reported",
    "State",
    "SweepRecord",
    "Told",
    "decode",
    "encode",
    "read_events",
    "read_process",
    "request_stop",
    "sweep_id",
    "take_lock",
]
