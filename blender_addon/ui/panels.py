"""The panels in the sidebar. Drawing reads state and never changes it."""

from __future__ import annotations

import bpy

from ...backend import protocol
from .. import installation, pump
from ..jobs.progress import duration
from ..request import cutouts, families, generate, images, live, opened, painted, properties
from ..request.properties import EspalierImage
from ..request.quality import family_of
from ..scene import candidates
from ..translations import OURS, number, translate
from . import cutout_operators, image_operators, operators, setup_page
from .card import carded, draw_card
from .explore_panel import draw_explore
from .failures import draw_cutout_failures
from .fields import Fields
from .guide_operators import draw_guide
from .job_list import draw_active, draw_ended
from .presets import ESPALIER_PT_presets
from .texts import NARROW, characters, draw_text, is_narrow, wrap

#: The share of the panel's width that the picture of an image takes where its name stands beside it.
BESIDE = 0.25
#: How many qualities fit beside each other, of which the last is an icon.
BUTTONS = 4
ICON = 2  # characters that an icon takes from its button
#: The settings in the subpanel *Object*, and all that are not in *Advanced*. Model, steps and resolution are chosen by
#: family, quality and fineness.
OF_THE_OBJECT = ("faces", "max_error", "quads", "texture_size")
ELSEWHERE = ("model", "steps", "resolution", "seed", "shape_strength", *OF_THE_OBJECT)


class _EspalierPanel(bpy.types.Panel):
    bl_category = "Espalier"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_translation_context = OURS


class EspalierPanel(_EspalierPanel):
    """The main panel: selected object, images, model, Generate 3D and jobs. Before the installation: how to install."""

    bl_idname = "ESPALIER_PT_generate"
    bl_label = "Espalier"

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        if installation.is_installed(context):
            ESPALIER_PT_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.espalier
        if not installation.is_installed(context):
            setup_page.draw_first_run(self.layout, context, characters(context))
            draw_images(self.layout, context)  # they may be dropped now and are used after the installation
            return
        # The card of what was just taken or kept would push the other candidates, or Live's buttons, out of sight.
        if not candidates.shown() and not live.is_on():
            draw_card(self.layout, context)
        # Above the images: otherwise a remedy would be out of sight in a window of 1280 x 800.
        draw_ended(self.layout, characters(context))
        draw_images(self.layout, context)
        draw_choices(self.layout, context)
        draw_button(self.layout, context)
        draw_explore(self.layout, context)
        # Below the button: it must not move away from under the mouse that has pressed it.
        draw_active(self.layout, characters(context))
        model = properties.chosen_model(settings)
        if model and family_of(model) == installation.DEMONSTRATION and installation.only_demonstration(context):
            setup_page.draw_demonstration(self.layout, context, characters(context))
        draw_shading(self.layout, context)


class SubPanel(_EspalierPanel):
    """What the subpanels have in common."""

    bl_parent_id = EspalierPanel.bl_idname

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return installation.is_installed(context)


class EspalierObjectPanel(SubPanel):
    """The subpanel *Object*."""

    bl_idname = "ESPALIER_PT_object"
    bl_label = "Object"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.espalier
        fields = Fields(self.layout, context)
        fields.draw(settings, "place")
        fields.draw(settings, "size", active=settings.place != "ACTIVE")
        fields.column.separator()
        for name in OF_THE_OBJECT:
            if protocol.ABOUT[name].own:
                fields.draw_optional(settings, name, protocol.ABOUT[name].title)
            else:
                fields.draw(settings, name, active=name != "faces" or not settings.use_max_error)


class EspalierAdvancedPanel(SubPanel):
    """The subpanel *Advanced*."""

    bl_idname = "ESPALIER_PT_advanced"
    bl_label = "Advanced"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.espalier
        fields, model = Fields(self.layout, context), properties.chosen_model(settings)
        materials = model is not None and model.materials
        painted = properties.texture_source(settings) in ("picture", "automatic")
        useful = {
            "multi_image": len(settings.images) > 1,
            "picture_strength": painted,
            "keep_shading": painted,
            "roughness": painted and not materials,
        }
        for name in protocol.names(protocol.Door.PANEL):
            if name in ELSEWHERE:
                continue
            if protocol.ABOUT[name].own:
                fields.draw_optional(settings, name, protocol.ABOUT[name].title)
            else:
                fields.draw(settings, name, active=useful.get(name, True))
            if name == "texture_source" and materials and painted:
                fields.note(
                    translate("The light of the images stays in the colors. Automatic takes the model's, without it")
                )
            if name == "roughness" and materials:
                fields.note(translate("The model makes roughness and metal itself"))


def draw_images(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw a thumbnail for each image, and the buttons that add images."""
    settings = context.scene.espalier
    cutouts.prepare(context)
    painted.prepare(context)
    column = layout.column(align=True)
    if settings.images:
        box = column.box()
        listed = images.listed(settings)
        count = len(listed)
        if count > 1:
            box.label(text=translate("{n} views of one object").format(n=count), translate=False)
        grid = box.grid_flow(row_major=True, columns=min(count, 3), even_columns=True, align=False)
        for index in range(count):
            draw_image(grid.column(align=True), context, index)
        if any(opened.waits(images.source(item)) and not cutouts.of(item) for item in listed):
            box.operator(cutout_operators.EspalierShowCutOuts.bl_idname, icon="HIDE_OFF")
        draw_cutout_failures(box, context)
    else:
        hint = column.box().column(align=True)
        hint.active = False
        hint.separator()
        for part in ("Drop images of one object", "onto the viewport"):
            for line in wrap(translate(part), characters(context)):
                row = hint.row()
                row.alignment = "CENTER"
                row.label(text=line, translate=False)
        hint.separator()
    row = column.row(align=True)
    row.operator(image_operators.EspalierAddImages.bl_idname, text="Add Images...", icon="FILEBROWSER")
    if is_narrow(context):
        row = column.row(align=True)
    row.operator(image_operators.EspalierAddImage.bl_idname, text="", icon="IMAGE_DATA")
    row.operator(image_operators.EspalierAddRender.bl_idname, text="", icon="RENDER_RESULT")
    row.operator(image_operators.EspalierPasteImage.bl_idname, text="", icon="PASTEDOWN")


def draw_image(column: bpy.types.UILayout, context: bpy.types.Context, index: int) -> None:
    """Draw an image's thumbnail, its name, what was cut out of it, and its buttons."""
    settings, width = context.scene.espalier, characters(context)
    item, count = settings.images[index], len(settings.images)
    picture = painted.icon(item) or cutouts.icon(item) or images.icon(item)
    if count == 1 and (carded(context) is not None or candidates.shown()) and not is_narrow(context):
        # Beside its name below a card: Generate 3D stays about where it was before there was an object, and in sight.
        # So do candidates, all of them.
        parts = column.split(factor=BESIDE)
        parts.template_icon(picture, scale=2.5)
        column, width = parts.column(align=True), NARROW - 1
    else:
        column.template_icon(picture, scale=7.0 if count == 1 else 4.0)
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
    if not missing:
        draw_cutout(column, item, index, width // min(count, 3))


def draw_cutout(column: bpy.types.UILayout, item: EspalierImage, index: int, width: int) -> None:
    """Draw what became of an image's background, and the buttons that change it by hand."""
    text, warning = cutout_text(item)
    if text:
        words = column.row()
        words.alert = warning
        draw_text(words, text, width, active=warning)
    if not item.cutout and cutouts.of(item) is None:
        return
    edits = [(cutout_operators.EspalierEditCutOut, "BRUSH_DATA"), (cutout_operators.EspalierPickObject, "EYEDROPPER")]
    needed = [len(translate(operator.bl_label)) + ICON for operator, _ in edits]
    worded = 2 if sum(needed) <= width and width >= NARROW else 1 if needed[0] + 2 * ICON <= width else 0
    buttons = column.row(align=True)
    buttons.alignment = "EXPAND" if worded else "CENTER"
    for place, (operator, symbol) in enumerate(edits):
        button = buttons.row(align=True)
        edits_only = item.cutout and operator is cutout_operators.EspalierPickObject
        button.enabled = not (painted.obstacle(item) or edits_only)
        words = operator.bl_label if place < worded else ""  # else they would be cut off
        button.operator(operator.bl_idname, text=words, icon=symbol).index = index
    if painted.is_changed(item):
        buttons.operator(cutout_operators.EspalierResetCutOut.bl_idname, text="", icon="LOOP_BACK").index = index


def cutout_text(item: EspalierImage) -> tuple[str, bool]:
    """What became of an image's background, and whether it is a warning; empty if there is nothing to say."""
    if item.cutout:
        return "Edited by hand", False
    cutout = cutouts.of(item)
    if cutout is None:
        return "", False
    if cutout.error is not None:
        return cutout.error.message, True
    if cutout.answer is None:
        return "Looking for the object...", False
    warnings = [translate(note) for note in cutout.answer.notes if note != protocol.BACKGROUND_REMOVED]
    if warnings:
        return " ".join(warnings), True
    return protocol.BACKGROUND_REMOVED if cutout.answer.removed else "", False


def draw_choices(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw model, quality, the number of steps if it is the user's own, seed and variants."""
    settings = context.scene.espalier
    fields = Fields(layout, context)
    fields.draw(settings, "family")
    draw_model(layout, fields, context)
    fields = Fields(layout, context)
    qualities = [item[0] for item in properties.quality_items(settings)]
    if len(qualities) <= BUTTONS and not fields.narrow:
        quality = layout.row(align=True)  # as wide as the panel: otherwise the labels are cut off
        for name in qualities[:-1]:
            quality.prop_enum(settings, "quality", name)
        quality.prop_enum(settings, "quality", qualities[-1], text="", icon="OPTIONS")  # Custom
        fields = Fields(layout, context)
    else:
        fields.draw(settings, "quality")
    if properties.is_custom(settings) and settings.use_steps:
        fields.draw(settings, "steps")
    elif properties.is_custom(settings):  # the model is given by its path, or is missing
        fields.draw_optional(settings, "steps", protocol.ABOUT["steps"].title)
    seed = fields.draw(settings, "seed")
    seed.operator(operators.EspalierNewSeed.bl_idname, text="", icon="FILE_REFRESH")
    lock = "LOCKED" if settings.lock_seed else "UNLOCKED"
    seed.prop(settings, "lock_seed", text="", icon=lock)
    fields.draw(settings, "variants")
    draw_guide(fields, settings)


def draw_model(layout: bpy.types.UILayout, fields: Fields, context: bpy.types.Context) -> None:
    """Draw the resolution, if the model has a choice, what a model with materials gives and takes, and a warning."""
    settings, width = context.scene.espalier, characters(context)
    model, shown = properties.chosen_model(settings), properties.resolution(settings)
    if properties.resolutions(settings):
        fields.draw(settings, "fineness")
    if model is None:
        return
    if model.materials:
        draw_text(layout, families.summary(installation.models.known, model, shown), width, active=False)
    warned = families.warning(model, shown, settings.low_memory)
    if warned is not None:
        box = layout.box()
        words = box.column()
        words.alert = True
        draw_text(words, warned.words, width)
        if warned.low_memory_helps:
            box.prop(settings, "low_memory")


def draw_button(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw Generate 3D, and below it what must be done before it can be pressed, or how long an object takes."""
    button = layout.row()
    button.scale_y = 1.7
    button.operator(operators.EspalierGenerate.bl_idname, icon="MESH_MONKEY")
    obstacle = generate.obstacle(context)
    if obstacle and context.scene.espalier.images:
        draw_text(layout, obstacle, characters(context), active=False)
        if properties.lacks_model(context.scene.espalier):
            layout.operator(operators.EspalierPreferencesShow.bl_idname, icon="PREFERENCES")
        return
    chosen = properties.chosen_settings(context.scene.espalier)
    seconds = pump.jobs.timings.seconds(chosen["model"], chosen["steps"], chosen["resolution"])
    if seconds is not None:
        words = translate("About {time} for an object").format(time=number(duration(seconds)))
        draw_text(layout, words, characters(context), active=False)


def draw_shading(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the button Show Texture."""
    shading = context.space_data.shading
    if shading.type == "SOLID":
        shown = shading.color_type == "TEXTURE"
        layout.operator(operators.EspalierShowTexture.bl_idname, icon="TEXTURE", depress=shown)


_classes = (EspalierPanel, EspalierObjectPanel, EspalierAdvancedPanel)
register, unregister = bpy.utils.register_classes_factory(_classes)
