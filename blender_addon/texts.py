"""Text in panels, which Blender does not wrap."""

from __future__ import annotations

import textwrap

import bpy


def draw_text(layout: bpy.types.UILayout, text: str, width: int, active: bool = True) -> None:
    """Text in as many lines as it needs."""
    column = layout.column(align=True)
    column.active = active
    column.scale_y = 0.8
    for line in textwrap.wrap(text, width):
        column.label(text=line)


def characters(context: bpy.types.Context) -> int:
    """About how many characters fit beside each other in the sidebar."""
    margins, letter = 60, 6.6
    return max(16, int((context.region.width / context.preferences.system.ui_scale - margins) / letter))
