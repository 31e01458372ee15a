"""Operators on the cut-out of a listed image: edit it by hand, pick the object, and back."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, FloatVectorProperty, IntProperty

from ...backend import protocol
from .. import pump
from ..request import cutouts, opened, painted
from ..request.properties import EspalierImage
from ..translations import in_words, translate
from . import image_editor


class _CutOut(bpy.types.Operator):
    index: IntProperty(min=0, options={"HIDDEN", "SKIP_SAVE"})

    def item(self, context: bpy.types.Context) -> EspalierImage | None:
        """The image of the list that the operator acts on."""
        listed = context.scene.espalier.images
        return listed[self.index] if self.index < len(listed) else None

    def refuse(self, why: str) -> set[str]:
        """End the operator with an error."""
        self.report({"ERROR"}, why)
        return {"CANCELLED"}


class EspalierShowCutOuts(bpy.types.Operator):
    """Cut the object out of each image that came with this file. A file that is only looked at starts nothing"""

    bl_idname = "espalier.show_cutouts"
    bl_label = "Show Cut-Outs"

    def execute(self, context: bpy.types.Context) -> set[str]:
        opened.ask()
        pump.redraw("UI")
        return {"FINISHED"}


class EspalierRetryCutOuts(bpy.types.Operator):
    """Make the cut-outs again that could not be made"""

    bl_idname = "espalier.retry_cutouts"
    bl_label = "Try Again"

    def execute(self, context: bpy.types.Context) -> set[str]:
        cutouts.forget_failures()
        pump.redraw("UI")
        return {"FINISHED"}


class EspalierEditCutOut(_CutOut):
    """Paint in the image editor what is used of this image: erase what does not belong to the object, or restore it"""

    bl_idname = "espalier.edit_cutout"
    bl_label = "Edit Cut-Out"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        item = self.item(context)
        if item is None or (why := painted.obstacle(item)):
            return self.refuse(why) if item else {"CANCELLED"}
        try:
            image = painted.edit(item)
        except ValueError as error:
            return self.refuse(str(error))
        except OSError as error:
            return self.refuse(in_words(error))
        pump.redraw("UI")
        if not bpy.app.background:
            image_editor.show(image.name, "PAINT", lambda editor: image_editor.ready_brush(editor, add=False))
        return {"FINISHED"}


class EspalierResetCutOut(_CutOut):
    """Use the automatic cut-out again, of the largest object in the image"""

    bl_idname = "espalier.reset_cutout"
    bl_label = "Reset Cut-Out"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        item = self.item(context)
        if item is None:
            return {"CANCELLED"}
        painted.reset(item)
        return {"FINISHED"}


class EspalierPickObject(_CutOut):
    """Click on another object in this image. Without a click, the largest one is used"""

    bl_idname = "espalier.pick_object"
    bl_label = "Pick Object"
    bl_options = {"REGISTER", "UNDO"}

    point: FloatVectorProperty(size=2, min=0.0, max=1.0, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        item = self.item(context)
        if item is None:
            return {"CANCELLED"}
        if item.cutout:
            return self.refuse(translate("Reset the cut-out first: it was edited by hand"))
        item.use_point, item.point = True, self.point
        pump.redraw("UI")
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        item = self.item(context)
        if item is None:
            return {"CANCELLED"}
        why = translate("Reset the cut-out first: it was edited by hand") if item.cutout else painted.obstacle(item)
        answer = cutouts.answer(item)
        if why or answer is None:
            return self.refuse(why)
        index = self.index

        def wait_for_click(editor: image_editor.Editor) -> None:
            with bpy.context.temp_override(**editor.override()):
                bpy.ops.espalier.click_object("INVOKE_DEFAULT", index=index, close=editor.own)

        image = bpy.data.images.load(answer.out)
        image.alpha_mode = "NONE"  # the other objects are in it, but transparent
        image_editor.show(image.name, "VIEW", wait_for_click)
        return {"INTERFACE"}


class EspalierClickObject(_CutOut):
    """Wait for a click on an object in the image editor"""

    bl_idname = "espalier.click_object"
    bl_label = "Click Object"
    bl_options = {"INTERNAL"}

    close: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.editor = image_editor.Editor(context.window, context.area, self.close)
        self.image = context.space_data.image.name
        context.window.cursor_modal_set("EYEDROPPER")
        context.area.header_text_set(translate("Click on the object. Esc: cancel"))
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self.end(None)
            return {"CANCELLED"}
        if event.type != "LEFTMOUSE" or event.value != "PRESS":
            return {"PASS_THROUGH"}
        point = clicked(self.editor.region, event.mouse_x, event.mouse_y)
        if point is None:
            return {"PASS_THROUGH"}
        self.end(point)
        return {"FINISHED"}

    def cancel(self, context: bpy.types.Context) -> None:
        self.end(None)  # the window was closed

    def end(self, point: protocol.Point | None) -> None:
        """Go on soon: Blender crashes if a window is closed by what still handles an event in it."""
        editor, image, index = self.editor, self.image, self.index
        bpy.app.timers.register(lambda: put_away(editor, image, index, point), first_interval=0.05)


def put_away(editor: image_editor.Editor, image: str, index: int, point: protocol.Point | None) -> None:
    """Take the object that was clicked, and put away what was shown for the click."""
    if editor.is_open():
        editor.window.cursor_modal_restore()
        editor.area.header_text_set(None)
        if point is not None:
            with bpy.context.temp_override(**editor.override()):
                bpy.ops.espalier.pick_object("EXEC_DEFAULT", True, index=index, point=point)  # True: with its undo step
        editor.close()
    if image in bpy.data.images:
        bpy.data.images.remove(bpy.data.images[image])


def clicked(region: bpy.types.Region, x: int, y: int) -> tuple[float, float] | None:
    """The point of the image under the mouse, as fractions from the top left; None if it is beside the image.

    ``x`` and ``y`` are pixels of the window, from the bottom left.
    """
    across, up = region.view2d.region_to_view(x - region.x, y - region.y)
    inside = 0 <= x - region.x < region.width and 0 <= y - region.y < region.height
    return (across, 1 - up) if inside and 0 <= across <= 1 and 0 <= up <= 1 else None


class EspalierAlphaBrush(bpy.types.Operator):
    """Take the brush that erases from the cut-out, or the one that restores what was erased"""

    bl_idname = "espalier.alpha_brush"
    bl_label = "Alpha Brush"
    bl_options = {"INTERNAL"}

    add: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        image_editor.ready_brush(image_editor.Editor(context.window, context.area, own=False), self.add)
        return {"FINISHED"}


def draw_header(self: bpy.types.Header, context: bpy.types.Context) -> None:
    """Draw the two brushes in the header of an image editor that shows an edited cut-out."""
    space = context.space_data
    edited = [item.cutout for item in context.scene.espalier.images if item.cutout]
    if space.ui_mode != "PAINT" or space.image not in edited:
        return
    brush = context.scene.tool_settings.image_paint.brush
    row = self.layout.row(align=True)
    for text, add in (("Erase", False), ("Restore", True)):
        blend = "ADD_ALPHA" if add else "ERASE_ALPHA"
        button = row.operator(
            EspalierAlphaBrush.bl_idname, text=text, depress=brush is not None and brush.blend == blend
        )
        button.add = add


_classes = (
    EspalierShowCutOuts,
    EspalierRetryCutOuts,
    EspalierEditCutOut,
    EspalierResetCutOut,
    EspalierPickObject,
    EspalierClickObject,
    EspalierAlphaBrush,
)
_register, _unregister = bpy.utils.register_classes_factory(_classes)


def register() -> None:
    """Register the operators, and add to the header of image editors."""
    _register()
    bpy.types.IMAGE_HT_header.append(draw_header)


def unregister() -> None:
    """Undo ``register``."""
    bpy.types.IMAGE_HT_header.remove(draw_header)
    _unregister()
