"""Draws the panels without a window, and says what they show."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any, ClassVar

import bpy
from espalier.backend import protocol
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.queue import Job
from espalier.blender_addon.request import generate
from espalier.blender_addon.ui import panels, result_panels


class Layout:
    """Takes down what is drawn. Knows only what UILayout knows, so that a misspelt call fails."""

    known = {f.identifier for f in bpy.types.UILayout.bl_rna.functions} | set(
        bpy.types.UILayout.bl_rna.properties.keys()
    )
    containers = ("row", "column", "box", "grid_flow", "split")
    unfolded = False  # whether what can be folded is drawn

    rows: ClassVar[list[list[Any]]] = []  # what stands beside each other

    def __init__(self, drawn: list[tuple[str, Any]], row: list[Any] | None = None) -> None:
        object.__setattr__(self, "drawn", drawn)
        object.__setattr__(self, "in_row", row)  # None: things stand below each other

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.known, name

    def __getattr__(self, name: str) -> Any:
        assert name in self.known, name

        def call(*arguments: Any, **keywords: Any) -> Any:
            if name in self.containers:
                return Layout(self.drawn, self._row() if name == "row" else None)
            if name == "panel":
                return Layout(self.drawn), Layout(self.drawn) if self.unfolded else None
            text = keywords.get("text") or (arguments[-1] if arguments else "")
            self.drawn.append((name, text))
            if self.in_row is not None:
                self.in_row.append(text)
            return types.SimpleNamespace()

        return call

    def _row(self) -> list[Any]:
        """Of a row inside a row: that one."""
        if self.in_row is not None:
            return self.in_row
        self.rows.append([])
        return self.rows[-1]


def draw(width: int = 280) -> list[tuple[str, Any]]:
    context = types.SimpleNamespace(
        scene=bpy.context.scene,
        preferences=types.SimpleNamespace(
            system=types.SimpleNamespace(ui_scale=1.0),  # 0 in background
            addons=bpy.context.preferences.addons,
        ),
        region=types.SimpleNamespace(width=width),
        active_object=bpy.context.active_object,
        selected_objects=bpy.context.selected_objects,
        space_data=types.SimpleNamespace(shading=types.SimpleNamespace(type="SOLID", color_type="MATERIAL")),
    )
    drawn: list[tuple[str, Any]] = []
    panel: Any = types.SimpleNamespace(layout=Layout(drawn))
    for cls in (
        panels.EspalierPanel,
        panels.EspalierObjectPanel,
        panels.EspalierAdvancedPanel,
        result_panels.EspalierIteratePanel,
        result_panels.EspalierHistoryPanel,
    ):
        cls.draw(panel, context)
    return drawn


def beside(text: str, width: int = 280) -> list[Any]:
    """What is drawn in the row of a text."""
    Layout.rows.clear()
    draw(width)
    return next(row for row in Layout.rows if text in row)


def texts(drawn: list[tuple[str, Any]]) -> str:
    return "\n".join(str(text) for _, text in drawn)


def new_request() -> protocol.Generate:
    (job,) = generate.new_jobs(bpy.context)
    Path(job.request.out).rmdir()
    return job.request


def another(job: Job, name: str) -> Job:
    """A job like another one, at the end of the queue."""
    added = Job(dataclasses.replace(job.request, job=name, out=job.request.out + name), job.target)
    pump.jobs.jobs.append(added)
    return added
