"""Draws text in panels: translated, and wrapped, because Blender does not wrap labels."""

from __future__ import annotations

import re
import textwrap
import unicodedata

import bpy

from ..translations import translate

#: In a sidebar of fewer characters, buttons and settings stand below each other.
NARROW = 26


def draw_text(layout: bpy.types.UILayout, text: str, width: int, active: bool = True) -> None:
    """Draw a text, translated into the user's language, in lines of at most ``width`` characters."""
    draw_lines(layout, wrap(translate(text), width), active)


def draw_lines(layout: bpy.types.UILayout, lines: list[str], active: bool = True) -> None:
    """Draw lines of a text close below each other."""
    column = layout.column(align=True)
    column.active = active
    column.scale_y = 0.8
    for line in lines:
        column.label(text=line, translate=False)


def wrap(text: str, width: int) -> list[str]:
    """Split a text into lines of at most ``width`` Latin characters. A Chinese character counts as two."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return _Wrapper(max(8, width // 2) if wide > len(text) / 2 else width).wrap(text)


class _Wrapper(textwrap.TextWrapper):
    """Breaks a path that is too long for a line at its folders, not in the middle of a name."""

    def _split(self, text: str) -> list[str]:
        return [part for chunk in super()._split(text) for part in re.split(r"(?<=[/\\])", chunk) if part]


def fitting(width: int, *texts: str) -> str:
    """The first of these texts that fits into a line of ``width`` Latin characters, else the last and shortest."""
    return next((text for text in texts if len(wrap(" ".join(text.split()), width)) < 2), texts[-1])


def characters(context: bpy.types.Context) -> int:
    """About how many characters fit into a line of the sidebar."""
    margins, letter = 60, 6.6
    return max(16, int((context.region.width / context.preferences.system.ui_scale - margins) / letter))


def is_narrow(context: bpy.types.Context) -> bool:
    """Whether the sidebar is too narrow for two things of a word each beside each other."""
    return characters(context) < NARROW
