"""Work in the background: one piece at a time, the latest wins, what comes out is handed to the main thread."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

REPORT_EVERY = 0.1  # seconds


class Cancelled(Exception):
    """The work is no longer wanted."""


class Tick:
    """What work calls at every step: it counts, reports the count now and then, and raises once nobody waits.

    Parameters
    ----------
    report : callable
        Is given the number of calls so far, at most every `REPORT_EVERY` seconds.

    Attributes
    ----------
    cancelled : bool
        From now on a call raises `Cancelled`.
    """

    def __init__(self, report: Callable[[int], None]):
        self.cancelled = False
        self._report, self._count, self._last = report, 0, time.monotonic()

    def __call__(self) -> None:
        """Count one step."""
        if self.cancelled:
            raise Cancelled
        self._count += 1
        if time.monotonic() - self._last >= REPORT_EVERY:
            self._last = time.monotonic()
            self._report(self._count)


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
        self._current: Tick | None = None

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
            Is given a `Tick`, to be called often.
        done, failed, progress : callable
            Called in the main thread: with the result, with what `work` raised, with the number of ticks so far.
        """
        self.cancel()
        tick = self._current = Tick(lambda count: self._post(tick, progress, count))

        def run() -> None:
            try:
                tick()
                outcome = work(tick)
            except Exception as error:
                self._post(tick, failed, error, last=True)
            else:
                self._post(tick, done, outcome, last=True)

        if self._loop is None:
            run()
        else:
            self._pool.submit(run)

    def cancel(self) -> None:
        """Give up what is being done; it stops at its next tick and nothing of it arrives."""
        if self._current is not None:
            self._current.cancelled = True
            self._current = None

    def _post(self, tick: Tick, report: Callable[[Any], None], outcome: Any, *, last: bool = False) -> None:
        """Report in the main thread, unless nobody waits for this work any more by then."""

        def arrive() -> None:
            if self._current is not tick:
                return
            if last:
                self._current = None
            report(outcome)

        if self._loop is None:
            arrive()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(arrive, context=self._context)
