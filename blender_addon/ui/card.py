"""Draws the card of the selected object at the top of the panel. Drawing changes nothing."""

from __future__ import annotations

import bpy

from ..request import properties
from ..request.quality import family_of, steps_label, title_of
from ..scene import history
from ..scene.made import ENTRY, is_made, shown
from ..scene.mesh_import import NOTE
from ..translations import translate
from . import explore_operators, export_operators, object_operators
from .texts import characters, draw_text, is_narrow

PICTURE = 3.2  # the height of the picture, in lines
PICTURE_WIDTH = 14  # characters that it takes from a line beside it


def carded(context: bpy.types.Context) -> bpy.types.Object | None:
    """The object that the card is of: the active one, if it is selected and was made with Espalier."""
    active = context.active_object
    return active if active is not None and is_made(active) and active.select_get() else None


def draw_card(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw picture, name and making of the selected object, what can be done with it, and the active object's note."""
    target = carded(context)
    width, narrow = characters(context), is_narrow(context)
    if target is not None:
        box = layout.box()
        icon = picture(target)
        if icon and not narrow:
            parts = box.split(factor=min(PICTURE_WIDTH / width, 0.5))
            parts.template_icon(icon, scale=PICTURE)
            draw_making(parts.column(align=True), target, context, width - PICTURE_WIDTH)
        else:
            if icon:
                box.template_icon(icon, scale=PICTURE)
            draw_making(box.column(align=True), target, context, width)
        draw_actions(box, narrow)
    active = context.active_object
    if active is not None and NOTE in active:
        draw_text(layout.box(), f"{active.name}: {active[NOTE]}", width)


def picture(target: bpy.types.Object) -> int:
    """The icon of an object: its portrait in the history, else its preview as an asset; 0 if it has neither."""
    entry = history.find(target.get(ENTRY, ""))
    if entry is not None and (portrait := history.icon(entry)):
        return portrait
    return 0 if target.preview is None else int(target.preview.icon_id)


def draw_making(layout: bpy.types.UILayout, target: bpy.types.Object, context: bpy.types.Context, width: int) -> None:
    """Draw an object's name and how it was made, and the button that brings its settings into the panel."""
    row = layout.row(align=True)
    row.label(text=target.name, translate=False)
    row.operator(object_operators.EspalierRestoreSettings.bl_idname, text="", icon="LOOP_BACK", emboss=False)
    for line in making(target, context):
        draw_text(layout, line, width, active=False)


def making(target: bpy.types.Object, context: bpy.types.Context) -> list[str]:
    """How an object was made, in the user's language: its seed, its model, its steps, and how many others are selected.

    The buttons act on these, too.
    """
    name, steps = shown(target, "model"), shown(target, "steps")
    model = properties.models().get(name)
    lines = [translate("Seed {n}").format(n=shown(target, "seed"))]
    title = title_of(family_of(model)).partition(" (")[0] if model is not None else ""
    made_by = [title or bpy.path.basename(name.rstrip("/\\"))]
    if steps.isdigit():
        made_by.append(steps_label(int(steps), int(steps), translate))
    lines.append("  ·  ".join(filter(None, made_by)))
    others = len(object_operators.selected(context)) - 1
    if others:
        lines.append(translate("and {n} more selected").format(n=others))
    return [line for line in lines if line]


def draw_actions(layout: bpy.types.UILayout, narrow: bool) -> None:
    """Draw the buttons of the card: two beside each other, or one where the sidebar is narrow."""
    grid = layout.grid_flow(row_major=True, columns=1 if narrow else 2, even_columns=True, align=True)
    again = grid.row(align=True)
    regenerate = object_operators.EspalierRegenerate.bl_idname
    again.operator(regenerate, text="Regenerate", icon="FILE_REFRESH").how = "SEED"
    again.operator(regenerate, text="", icon="SETTINGS").how = "PANEL"
    grid.operator(object_operators.EspalierVariants.bl_idname, icon="DUPLICATE").count = 3
    grid.operator(explore_operators.EspalierExploreObject.bl_idname, icon="LIGHTPROBE_VOLUME")
    grid.operator(object_operators.EspalierRetexture.bl_idname, icon="TEXTURE")
    grid.operator(object_operators.EspalierMarkAsset.bl_idname, text="Asset", icon="ASSET_MANAGER")
    grid.operator(export_operators.EspalierExport.bl_idname, text="Export...", icon="EXPORT")
