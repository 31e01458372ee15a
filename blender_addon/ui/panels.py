"""The panels in the sidebar. Drawing reads state and never changes it."""

from __future__ import annotations

import bpy

from ...backend import protocol
from .. import installation
from ..request import generate, images, properties
from ..request.properties import EspalierSettings
from ..request.quality import family_of
from ..scene.mesh_import import NOTE
from ..translations import translate
from . import image_operators, operators, setup_page
from .job_list import draw_jobs
from .presets import ESPALIER_PT_presets
from .texts import characters, draw_text

#: How many qualities fit beside each other.
BUTTONS = 3
#: The settings in the subpanel *Object*, and all that are not in *Advanced*. The model is chosen by family and quality.
OF_THE_OBJECT = ("faces", "texture_size")
ELSEWHERE = ("model", "seed", *OF_THE_OBJECT)


class _EspalierPanel(bpy.types.Panel):
    bl_category = "Espalier"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"


class EspalierPanel(_EspalierPanel):
    """The main panel: images, model, Generate 3D and the jobs. Before the installation: how to install."""

    bl_idname = "ESPALIER_PT_generate"
    bl_label = "Espalier"

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        if installation.is_installed(context):
            ESPALIER_PT_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.espalier
        if not installation.is_installed(context):
            setup_page.draw_first_run(self.layout, context, characters(context))
            return
        draw_images(self.layout, settings)
        draw_choices(self.layout, settings)
        draw_button(self.layout, context)
        draw_jobs(self.layout, characters(context))
        model = properties.chosen_model(settings)
        if model and family_of(model) == installation.DEMONSTRATION and installation.only_demonstration(context):
            # Below the jobs: otherwise the remedy of a failed job would be out of sight in a window of 1280 x 800.
            setup_page.draw_demonstration(self.layout, context, characters(context))
        draw_active(self.layout, context)


class _SubPanel(_EspalierPanel):
    bl_parent_id = EspalierPanel.bl_idname

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return installation.is_installed(context)


class EspalierObjectPanel(_SubPanel):
    """The subpanel *Object*."""

    bl_idname = "ESPALIER_PT_object"
    bl_label = "Object"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.espalier
        column = property_column(self.layout)
        column.prop(settings, "place")
        size = column.row()
        size.active = settings.place != "ACTIVE"
        size.prop(settings, "size")
        column.separator()
        for name in OF_THE_OBJECT:
            column.prop(settings, name)


class EspalierAdvancedPanel(_SubPanel):
    """The subpanel *Advanced*."""

    bl_idname = "ESPALIER_PT_advanced"
    bl_label = "Advanced"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.espalier
        column = property_column(self.layout)
        model = properties.chosen_model(settings)
        useful = {
            "multi_image": len(settings.images) > 1,
            "texture_source": model is None or model.gaussians,
        }
        for name in protocol.names(protocol.Door.PANEL):
            if name in ELSEWHERE:
                continue
            if protocol.ABOUT[name].own:
                draw_optional(column, settings, name, protocol.ABOUT[name].title)
                continue
            row = column.row()
            row.active = useful.get(name, True)
            row.prop(settings, name)


def property_column(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    """A column of properties with their names on the left, as in Blender's own panels."""
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    return column


def draw_optional(layout: bpy.types.UILayout, settings: EspalierSettings, name: str, heading: str) -> None:
    """Draw a number that may be left to the model, with the checkbox that overrides the model's."""
    row = layout.row(heading=heading)
    row.prop(settings, f"use_{name}", text="")
    number = row.row()
    number.active = getattr(settings, f"use_{name}")
    number.prop(settings, name, text="")


def draw_images(layout: bpy.types.UILayout, settings: EspalierSettings) -> None:
    """Draw a thumbnail for each image, and the buttons that add images."""
    column = layout.column(align=True)
    if settings.images:
        box = column.box()
        count = len(settings.images)
        if count > 1:
            box.label(text=translate("{n} views of one object").format(n=count), translate=False)
        grid = box.grid_flow(row_major=True, columns=min(count, 3), even_columns=True, align=False)
        for index in range(count):
            draw_image(grid.column(align=True), settings, index)
    else:
        hint = column.box().column(align=True)
        hint.active = False
        hint.separator()
        for line in ("Drop images of one object", "onto the viewport"):
            row = hint.row()
            row.alignment = "CENTER"
            row.label(text=line)
        hint.separator()
    row = column.row(align=True)
    row.operator(image_operators.EspalierAddImages.bl_idname, text="Add Images...", icon="FILEBROWSER")
    row.operator(image_operators.EspalierAddImage.bl_idname, text="", icon="IMAGE_DATA")
    row.operator(image_operators.EspalierAddRender.bl_idname, text="", icon="RENDER_RESULT")
    row.operator(image_operators.EspalierPasteImage.bl_idname, text="", icon="PASTEDOWN")


def draw_image(column: bpy.types.UILayout, settings: EspalierSettings, index: int) -> None:
    """Draw an image's thumbnail, its name, and the buttons that move and remove it."""
    item, count = settings.images[index], len(settings.images)
    column.template_icon(images.icon(item), scale=7.0 if count == 1 else 4.0)
    name = column.row(align=True)
    missing = images.is_missing(item)
    name.alert = missing
    name.label(text=images.title(item), icon="ERROR" if missing else "NONE", translate=False)
    buttons = name
    if count > 1:
        buttons = column.row(align=True)
        buttons.alignment = "CENTER"
        for by, arrow in ((-1, "TRIA_LEFT"), (1, "TRIA_RIGHT")):
            button = buttons.row(align=True)
            button.enabled = 0 <= index + by < count
            move = button.operator(image_operators.EspalierMoveImage.bl_idname, text="", icon=arrow)
            move.index, move.by = index, by
    buttons.operator(image_operators.EspalierRemoveImage.bl_idname, text="", icon="X").index = index


def draw_choices(layout: bpy.types.UILayout, settings: EspalierSettings) -> None:
    """Draw model, quality, seed and variants."""
    column = property_column(layout)
    column.prop(settings, "family")
    if len(properties.quality_items(settings)) <= BUTTONS:
        quality = layout.row()  # as wide as the panel: otherwise the labels are cut off
        quality.prop(settings, "quality", expand=True)
        column = property_column(layout)
    else:
        column.prop(settings, "quality")
    seed = column.row(align=True)
    seed.prop(settings, "seed")
    seed.operator(operators.EspalierNewSeed.bl_idname, text="", icon="FILE_REFRESH")
    lock = "LOCKED" if settings.lock_seed else "UNLOCKED"
    seed.prop(settings, "lock_seed", text="", icon=lock)
    column.prop(settings, "variants")


def draw_button(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw Generate 3D, and below it what must be done before it can be pressed."""
    button = layout.row()
    button.scale_y = 1.7
    button.operator(operators.EspalierGenerate.bl_idname, icon="MESH_MONKEY")
    obstacle = generate.obstacle(context)
    if obstacle and context.scene.espalier.images:
        draw_text(layout, obstacle, characters(context), active=False)
        if properties.lacks_model(context.scene.espalier):
            layout.operator(operators.EspalierPreferencesShow.bl_idname, icon="PREFERENCES")


def draw_active(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the note of the active object, if it has one, and the button Show Texture."""
    active = context.active_object
    if active is not None and NOTE in active:
        draw_text(layout.box(), f"{active.name}: {active[NOTE]}", characters(context))
    shading = context.space_data.shading
    if shading.type == "SOLID":
        shown = shading.color_type == "TEXTURE"
        layout.operator(operators.EspalierShowTexture.bl_idname, icon="TEXTURE", depress=shown)


_classes = (EspalierPanel, EspalierObjectPanel, EspalierAdvancedPanel)
register, unregister = bpy.utils.register_classes_factory(_classes)
