"""Draws text in panels: translated, and wrapped, because Blender does not wrap labels."""

from __future__ import annotations

import re
import textwrap
import unicodedata

import bpy

from ..translations import translate


def draw_text(layout: bpy.types.UILayout, text: str, width: int, active: bool = True) -> None:
    """Draw a text, translated into the user's language, in lines of at most ``width`` characters."""
    column = layout.column(align=True)
    column.active = active
    column.scale_y = 0.8
    for line in wrap(translate(text), width):
        column.label(text=line, translate=False)


def wrap(text: str, width: int) -> list[str]:
    """Split a text into lines of at most ``width`` Latin characters. A Chinese character counts as two."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return _Wrapper(max(8, width // 2) if wide > len(text) / 2 else width).wrap(text)


class _Wrapper(textwrap.TextWrapper):
    """Breaks a path that is too long for a line at its folders, not in the middle of a name."""

    def _split(self, text: str) -> list[str]:
        return [part for chunk in super()._split(text) for part in re.split(r"(?<=[/\\])", chunk) if part]


def characters(context: bpy.types.Context) -> int:
    """About how many characters fit into a line of the sidebar."""
    margins, letter = 60, 6.6
    return max(16, int((context.region.width / context.preferences.system.ui_scale - margins) / letter))
