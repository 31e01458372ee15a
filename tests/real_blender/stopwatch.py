"""How long Blender's main thread stands still for the add-on: every operator, panel, timer, handler and draw call.

Wall time is what an artist feels; CPU time of the thread is what the add-on is answerable for on a busy machine. Time
in calls that are counted themselves, such as the import of a result within a timer's tick, is theirs alone.

On a machine that other work shares, one and the same call takes several times its CPU time now and then. So a function
is held to its ``usual`` time: its longest call but for one in each full hundred. The longest of all is told beside it.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import bpy

METHODS = ("draw", "execute", "invoke", "modal", "poll", "poll_drop", "draw_header")
#: module -> functions that Blender calls, or that are worth a name of their own.
FUNCTIONS = {
    "pump": ("_tick", "recover", "insert", "_show_preview"),
    "installation": ("_tick",),
    "live": ("_tick",),
    "viewport": ("_draw", "_draw_labels"),
}
#: Limits of the histogram's classes, in milliseconds.
CLASSES = (1.0, 2.0, 4.0, 8.0, 16.0, 33.0, 66.0, 150.0)


class Stopwatch:
    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[float, float]]] = {}  # name -> (wall, CPU) of each call, in milliseconds
        self._inner: list[list[float]] = []  # of each call that is going on: wall and CPU of the calls within it

    def watch(self, package: str) -> None:
        """Count every call into the add-on from now on. ``package``: its modules' common name."""
        modules = {name.rpartition(".")[2]: module for name, module in sys.modules.items() if name.startswith(package)}
        for name, functions in FUNCTIONS.items():
            for function in functions:
                setattr(modules[name], function, self.timed(f"{name}.{function}", getattr(modules[name], function)))
        for handlers in (bpy.app.handlers.load_post, bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
            for index, handler in enumerate(handlers):
                if handler.__module__.startswith(package):
                    handlers[index] = bpy.app.handlers.persistent(self.timed(handler.__name__, handler))
                    setattr(sys.modules[handler.__module__], handler.__name__, handlers[index])  # to be removed by
        kinds = (bpy.types.Operator, bpy.types.Panel, bpy.types.Menu, bpy.types.AddonPreferences, bpy.types.FileHandler)
        for kind in kinds:
            for cls in kind.__subclasses__():
                self._watch_class(cls, package)

    def _watch_class(self, cls: type, package: str) -> None:
        subclasses: list[type] = cls.__subclasses__()
        for sub in subclasses:
            self._watch_class(sub, package)
        if not cls.__module__.startswith(package):
            return
        for method in METHODS:
            found = cls.__dict__.get(method)
            if isinstance(found, classmethod):
                setattr(cls, method, classmethod(self._timed_method(f"{cls.__name__}.{method}", found.__func__)))
            elif found is not None:
                setattr(cls, method, self._timed_method(f"{cls.__name__}.{method}", found))

    def _timed_method(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """With as many parameters as it had: Blender reads from the code how many it may give."""
        call = self.timed(name, function)

        def with_context(this: Any, context: Any) -> Any:
            return call(this, context)

        def with_event(this: Any, context: Any, event: Any) -> Any:
            return call(this, context, event)

        return with_event if function.__code__.co_argcount == 3 else with_context

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._inner.append([0.0, 0.0])
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent = (1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu))
                inner = self._inner.pop()
                self.calls.setdefault(name, []).append((spent[0] - inner[0], spent[1] - inner[1]))
                if self._inner:
                    self._inner[-1][0] += spent[0]
                    self._inner[-1][1] += spent[1]

        return call

    def report(self) -> dict[str, Any]:
        """All calls as histograms, and the longest calls of each function, the worst first."""
        every = [call for calls in self.calls.values() for call in calls]
        ordered = {
            name: [sorted(call[which] for call in calls) for which in (0, 1)] for name, calls in self.calls.items()
        }
        return {
            "classes_ms": [*CLASSES, None],
            "wall": histogram([call[0] for call in every]),
            "cpu": histogram([call[1] for call in every]),
            "calls": {name: len(calls) for name, calls in self.calls.items()},
            "longest_ms": {
                name: {
                    "wall": round(wall[-1], 2),
                    "cpu": round(cpu[-1], 2),
                    "usual": round(cpu[-1 - len(cpu) // 100], 2),
                }
                for name, (wall, cpu) in sorted(ordered.items(), key=lambda item: -item[1][1][-1])
            },
        }


def histogram(values: list[float]) -> list[int]:
    """How many values lie in each class; the last one has no limit."""
    limits = itertools.pairwise((0.0, *CLASSES, float("inf")))
    return [sum(low <= max(value, 0.0) < high for value in values) for low, high in limits]
