"""Signals of new processes, which inherit what their shell or nohup ignores: then a test would wait for nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable

NAMES = ("SIGTERM", "SIGHUP", "SIGINT")


def heeded(ignored: tuple[str, ...] = ()) -> Callable[[], None]:
    """A ``preexec_fn`` for ``subprocess.Popen``: the process heeds all of ``NAMES`` but those."""

    def prepare() -> None:
        for name in NAMES:
            signal.signal(getattr(signal, name), signal.SIG_IGN if name in ignored else signal.SIG_DFL)

    return prepare
