"""Operators on the image that Blender's image editor shows."""

from __future__ import annotations

import bpy

from .. import pump
from ..request import cutouts, generate, images
from ..translations import translate


def source_of_shown(context: bpy.types.Context) -> str:
    """The source of the image in the editor; of a render result, what it shows now is kept as an image of its own.

    Raises RuntimeError if nothing has been rendered.
    """
    image = context.space_data.image
    if image.type == "RENDER_RESULT":
        image = images.add_render(context)
    return images.DATABLOCK + str(image.name)


class _ShownImage(bpy.types.Operator):
    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        space = context.space_data
        image = space.image if space is not None and space.type == "IMAGE_EDITOR" else None
        cls.poll_message_set(translate("Open an image in the image editor"))
        return image is not None and (image.source != "VIEWER" or image.type == "RENDER_RESULT")

    def take(self, context: bpy.types.Context, replace: bool) -> bool:
        """Put the image into the list, alone or after those that are there. Reports why not, and returns False then."""
        try:
            named = source_of_shown(context)
        except RuntimeError as error:
            self.report({"ERROR"}, str(error))
            return False
        settings = context.scene.espalier
        if replace:
            settings.images.clear()
        cutouts.forget(named)
        images.add_source(settings, named)
        pump.redraw("UI")
        return True


class EspalierAddShown(_ShownImage):
    """Add this image to the images of the object, as one more view"""

    bl_idname = "espalier.add_shown"
    bl_label = "Add Image to Espalier"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return {"FINISHED"} if self.take(context, replace=False) else {"CANCELLED"}


class EspalierGenerateFromShown(_ShownImage):
    """Generate a textured mesh from this image alone. It takes the place of the images in the list"""

    bl_idname = "espalier.generate_from_shown"
    bl_label = "Generate 3D from Image"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not self.take(context, replace=True):
            return {"CANCELLED"}
        if obstacle := generate.obstacle(context):
            self.report({"ERROR"}, obstacle)
            return {"CANCELLED"}
        return bpy.ops.espalier.generate()


_classes = (EspalierAddShown, EspalierGenerateFromShown)
register, unregister = bpy.utils.register_classes_factory(_classes)
