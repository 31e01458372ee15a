"""Text in panels: in the user's language, and in as many lines as it needs, for Blender does not wrap."""

from __future__ import annotations

import textwrap
import unicodedata

import bpy

from ..translations import translate


def draw_text(layout: bpy.types.UILayout, text: str, width: int, active: bool = True) -> None:
    """Text, in the user's language, in lines of at most ``width`` characters."""
    column = layout.column(align=True)
    column.active = active
    column.scale_y = 0.8
    for line in wrap(translate(text), width):
        column.label(text=line, translate=False)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` Latin characters. Chinese ones are twice as wide, and there are no spaces between."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return textwrap.wrap(text, max(8, width // 2) if wide > len(text) / 2 else width)


def characters(context: bpy.types.Context) -> int:
    """About how many characters fit beside each other in the sidebar."""
    margins, letter = 60, 6.6
    return max(16, int((context.region.width / context.preferences.system.ui_scale - margins) / letter))
