"""Trying a request again: at once, then after longer and longer pauses, until patience ends.

Owns when and how long; what a failure means is judged by whoever asks.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.store.base import MissingObjectError, StoreError, UnreachableError

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""A pause is drawn from 0 to 0.1, 0.2, 0.4 … 10 s: those who failed together do not come back together."""
FIRST_ANSWER_S = 30.0
"""How long a store is waited for that has not answered yet: its address may be wrong."""
_NOTICE_AFTER_S, _NOTICE_EVERY_S = 10.0, 60.0


@dataclass(frozen=True)
class Fault:
    """What a failed request means.

    Attributes:
        reason: what is wrong, in one line, without the object's address and without secrets.
        remedy: what mends it, "" if there is nothing to be set.
        passing: whether it may be gone when asked again.
        missing: whether there is no such object.
    """

    reason: str
    remedy: str = ""
    passing: bool = False
    missing: bool = False


class Retry:
    """Repeats the requests of one store, in one process, for any number of threads."""

    def __init__(self, judge: Callable[[Exception], Fault | None], patience_s: float) -> None:
        """`judge` returns what an exception means, None for one that is no answer of a store."""
        self._judge, self._patience_s = judge, patience_s
        self._answered = False
        self._lock = threading.Lock()
        self._last_notice = -_NOTICE_EVERY_S

    def __call__(
        self, address: str, ask: Callable[[], T], moved: Callable[[], int] = lambda: 0
    ) -> T:
        """Return what `ask` returns, asked again for as long as its failures may pass.

        Args:
            address: of the object, for the message.
            moved: how many bytes have arrived; the time runs from the last try that brought some.

        Raises:
            MissingObjectError: there is no such object.
            StoreError: a failure that would be the same next time.
            UnreachableError: patience has ended.
        """
        begun, tries, attempt, before = time.monotonic(), 0, 0, moved()
        while True:
            tries += 1
            try:
                result = ask()
            except Exception as error:
                fault = self._judge(error)
                if fault is None:
                    raise
                if not fault.passing:
                    self._answered = True
                    kind = MissingObjectError if fault.missing else StoreError
                    raise kind(address, _joined(fault.reason, fault.remedy)) from error
                if moved() > before:
                    begun, attempt, before, self._answered = time.monotonic(), 0, moved(), True
                self._pause(address, fault, (begun, tries, attempt), error)
                attempt += 1
            else:
                self._answered = True
                return result

    def _pause(
        self, address: str, fault: Fault, tried: tuple[float, int, int], error: Exception
    ) -> None:
        begun, tries, attempt = tried
        pause_s = random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempt, 20)))
        patience_s = self._patience_s
        if not self._answered:
            patience_s = min(patience_s, FIRST_ANSWER_S)
        waited_s = time.monotonic() - begun
        if waited_s + pause_s > patience_s:
            times = "once" if tries == 1 else f"{tries} times"
            reason = f"{fault.reason} (tried {times}, {waited_s:.0f} s)"
            raise UnreachableError(address, _joined(reason, fault.remedy)) from error
        if waited_s > _NOTICE_AFTER_S:
            self._notice(f"{address}: {fault.reason}; trying on for {patience_s - waited_s:.0f} s")
        time.sleep(pause_s)

    def _notice(self, text: str) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._last_notice < _NOTICE_EVERY_S:
                return
            self._last_notice = now
        print(text, file=sys.stderr, flush=True)


def _joined(reason: str, remedy: str) -> str:
    return f"{reason}; {remedy}" if remedy else reason
