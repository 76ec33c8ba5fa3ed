"""The event log of a sweep, mirrored into MLflow off the driver's path."""

from orchestrator.tracking.tracker import Tracker

__all__ = ["Tracker"]
