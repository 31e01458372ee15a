"""Draws settings in panels: with their names on the left, or above them where the sidebar is narrow."""

from __future__ import annotations

import bpy

from ..request.properties import EspalierSettings
from ..translations import OURS, translate
from .texts import characters, draw_lines, draw_text, is_narrow, wrap

BOX = 2  # characters that a checkbox takes from a line


class Fields:
    """A column of settings, as Blender's own panels have it."""

    def __init__(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        self.narrow, self.width = is_narrow(context), characters(context)
        self.column = layout.column()
        self.column.use_property_split = not self.narrow
        self.column.use_property_decorate = False

    def draw(self, settings: EspalierSettings, name: str, active: bool = True) -> bpy.types.UILayout:
        """Draw a setting. Returns the row that it stands in, for buttons beside it."""
        prop = settings.bl_rna.properties[name]
        if self.narrow and prop.type != "BOOLEAN":
            above = self.column.row()
            above.active = active
            above.label(text=translate(prop.name), translate=False)
            row = self.column.row(align=True)
            row.active = active
            row.prop(settings, name, text="")
            return row
        row = self.column.row(align=True)
        row.active = active
        if self.narrow and len(lines := wrap(translate(prop.name), self.width - BOX)) > 1:
            row.prop(settings, name, text="")
            draw_lines(row, lines)
        else:
            row.prop(settings, name)
        return row

    def note(self, text: str) -> None:
        """Draw a sentence on the setting above it."""
        draw_text(self.column, text, self.width, active=False)

    def draw_optional(self, settings: EspalierSettings, name: str, heading: str) -> None:
        """Draw a number that may be None, with the checkbox that sets it."""
        chosen = getattr(settings, f"use_{name}")
        if self.narrow:
            self.column.prop(settings, f"use_{name}", text=heading, text_ctxt=OURS)
            if chosen:
                self.column.prop(settings, name, text="")
            return
        row = self.column.row(heading=heading, heading_ctxt=OURS)
        row.prop(settings, f"use_{name}", text="")
        number = row.row()
        number.active = chosen
        number.prop(settings, name, text="")
