"""Work in the background: one piece at a time, the latest wins, what comes out is handed to the main thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nbtools.widgets.attack_state import Cancelled

Tick = Callable[[], None]
REPORT_EVERY = 0.1  # seconds


class Background:
    """Runs work in one thread of its own, so that a page goes on answering.

    Parameters
    ----------
    loop : asyncio loop, optional
        The kernel's, in whose thread results arrive. Without one (a script, a test) work is done on the spot.

    Notes
    -----
    One thread, because attacks draw their random starts from the process's generator: two at once would disturb
    one another's seeds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None):
        self._loop = loop
        self._context = contextvars.copy_context()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="attack")
        self._current: threading.Event | None = None

    @property
    def busy(self) -> bool:
        """Whether there is work whose outcome is awaited."""
        return self._current is not None

    def start(
        self,
        work: Callable[[Tick], Any],
        *,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        progress: Callable[[int], None] = lambda ticks: None,
    ) -> None:
        """Do this now, and give up what was being done.

        Parameters
        ----------
        work : callable
            Is given ``tick``, to be called often: it counts, and raises `Cancelled` once nobody waits any more.
        done, failed, progress : callable
            Called in the main thread: with the result, with what `work` raised, with the number of ticks so far.
        """
        self.cancel()
        cancelled = self._current = threading.Event()

        def finish(report: Callable[[Any], None], outcome: Any) -> None:
            if self._current is cancelled:
                self._current = None
                report(outcome)

        def run() -> None:
            tick = _ticker(cancelled, lambda n: self._post(lambda: None if cancelled.is_set() else progress(n)))
            try:
                tick()
                outcome, report = work(tick), done
            except Cancelled:
                return
            except Exception as error:
                outcome, report = error, failed
            self._post(lambda: finish(report, outcome))

        if self._loop is None:
            run()
        else:
            self._pool.submit(run)

    def cancel(self) -> None:
        """Give up what is being done; it stops at its next tick and nothing of it arrives."""
        if self._current is not None:
            self._current.set()
            self._current = None

    def _post(self, call: Callable[[], None]) -> None:
        if self._loop is None:
            call()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, context=self._context)


def _ticker(cancelled: threading.Event, report: Callable[[int], None]) -> Tick:
    """Return a function that counts its calls, reports the count now and then, and raises once cancelled."""
    count, last = 0, time.monotonic()

    def tick() -> None:
        nonlocal count, last
        if cancelled.is_set():
            raise Cancelled
        count += 1
        if time.monotonic() - last >= REPORT_EVERY:
            last = time.monotonic()
            report(count)

    return tick
