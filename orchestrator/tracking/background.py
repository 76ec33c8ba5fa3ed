"""A job that is done again and again in a thread, and outlives its own failures."""

import math
import threading
import time
from collections.abc import Callable

_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.5, 60.0


class Worker:
    """Runs a job in a thread whenever woken, and a last time when closed.

    A job that raises is run again after a while, each time twice as long, up to a minute.

    Args:
        job: Called with whether this is the last time; returns after how many seconds it wants to
            run again without being woken, or None.
        on_error: Called with what the job raised, and with None as soon as it works again.
        name: The thread's name.
    """

    def __init__(
        self,
        job: Callable[[bool], float | None],
        on_error: Callable[[Exception | None], None],
        name: str,
    ) -> None:
        self._job = job
        self._on_error = on_error
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = math.inf
        self._done = False
        # a daemon: a store that hangs must not keep the process from ending
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread; the job is run at once."""
        self._thread.start()

    def wake(self) -> None:
        """Asks for the job to be run; returns at once."""
        self._wake.set()

    def close(self, timeout: float) -> bool:
        """Runs the job a last time, retried until the timeout; returns whether it succeeded."""
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        return self._done

    def _loop(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while not self._done:
            last = self._closing.is_set()
            self._wake.clear()
            try:
                pause = self._job(last)
            except Exception as error:  # the caller hears of it; the thread must live
                self._on_error(error)
                if last:
                    delay = _FIRST_RETRY_SECONDS
                    if time.monotonic() + delay > self._deadline:
                        return
                    time.sleep(delay)
                else:
                    self._closing.wait(delay)
                    delay = min(2 * delay, _LAST_RETRY_SECONDS)
                continue
            self._on_error(None)
            delay = _FIRST_RETRY_SECONDS
            self._done = last
            if not last:
                self._wake.wait(pause)
