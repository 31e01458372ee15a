"""SIGTERM and SIGHUP end a program as Ctrl-C does, so that it clears up. Standard library only: both sides use it."""

from __future__ import annotations

import signal
import threading


def end_as_interrupted() -> None:
    """Have the system's requests to end raise KeyboardInterrupt, once: a second one must not disturb clearing up.

    SIGHUP comes when a terminal is closed; a program under nohup goes on ignoring it. Does nothing outside the main
    thread, where Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


_NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _interrupt(number: int, frame: object) -> None:
    for one in _NUMBERS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt
