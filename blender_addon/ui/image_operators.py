"""Operators that add reference images to the list, move them and remove them."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, IntProperty, StringProperty

from ...backend import protocol
from .. import choices, pump
from ..request import cutouts, images
from ..scene import history
from ..scene.made import MOST_IMAGES
from ..translations import translate
from . import sidebar

IMAGE_GLOB = ";".join(f"*{suffix}" for suffix in protocol.IMAGE_SUFFIXES)

#: How Blender's file browser shows files. It looks for a property of this kind, by these names and numbers.
DISPLAY_TYPES = [
    (name, name, "", number)
    for number, name in enumerate(("FILE_DEFAULTDISPLAY", "FILE_SHORTDISPLAY", "FILE_LONGDISPLAY", "FILE_IMGDISPLAY"))
]

_listed: list[tuple[str, str, str, str, int]] = []  # Blender keeps no reference to the strings of an enumeration


def last_folder(context: bpy.types.Context) -> str:
    """The folder of the last image in the list that is a file, else the one that images were last added from.

    Empty if there is no such folder.
    """
    paths = [bpy.path.abspath(item.path) for item in context.scene.espalier.images if item.path and not item.image]
    for folder in (*(str(Path(path).parent) for path in reversed(paths)), choices.image_folder(context)):
        if folder and Path(folder).is_dir():
            return folder
    return ""


class EspalierAddImages(bpy.types.Operator):
    """Add reference images of one object: a single image or several views"""

    bl_idname = "espalier.add_images"
    bl_label = "Add Images to Espalier"
    bl_options = {"REGISTER", "UNDO"}

    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default=IMAGE_GLOB, options={"HIDDEN"})
    display_type: EnumProperty(items=DISPLAY_TYPES, default="FILE_IMGDISPLAY", options={"HIDDEN", "SKIP_SAVE"})
    replace: BoolProperty(
        name="Replace",
        description="Remove the images that are already in the list",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.files:  # dropped onto the viewport
            return self._drop(context)
        if folder := last_folder(context):
            self.directory = folder
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def _drop(self, context: bpy.types.Context) -> set[str]:
        """Add what was dropped. It is the next object, not a further view, if the images in the list made one.

        *Replace* can then be turned off in Blender's panel *Adjust Last Operation*.
        """
        there = tuple(map(images.source, context.scene.espalier.images))
        self.replace = bool(there) and (history.has_made(there) or pump.is_making(there))
        if self.replace:
            self.report(
                {"INFO"},
                translate(
                    "The dropped image is the next object. For another view, turn off Replace at the bottom left"
                ),
            )
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.espalier
        if self.replace:
            settings.images.clear()
        for file in self.files:
            if len(settings.images) >= MOST_IMAGES:
                self.report({"WARNING"}, translate("{n} images of one object are enough").format(n=MOST_IMAGES))
                break
            path = str(Path(self.directory, file.name))
            if file.name:
                images.add_source(settings, path)
        choices.set_image_folder(context, self.directory)
        pump.redraw("UI")
        sidebar.show(context.area)  # else nothing would be seen of them where the sidebar is closed
        return {"FINISHED"}


def _images_to_choose(self: bpy.types.Operator, context: bpy.types.Context) -> list[tuple[str, str, str, str, int]]:
    _listed[:] = [
        (image.name, image.name, "", "IMAGE_DATA", number)
        for number, image in enumerate(bpy.data.images)
        if image.type != "RENDER_RESULT"
    ]
    return _listed


def _add(context: bpy.types.Context, name: str) -> set[str]:
    """Add an image of this blend-file to the list."""
    cutouts.forget(images.DATABLOCK + name)
    images.add_source(context.scene.espalier, images.DATABLOCK + name)
    pump.redraw("UI")
    return {"FINISHED"}


def _add_made(
    operator: bpy.types.Operator, context: bpy.types.Context, make: Callable[[bpy.types.Context], bpy.types.Image]
) -> set[str]:
    """Make an image in this blend-file, and add it to the list."""
    try:
        image = make(context)
    except RuntimeError as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    return _add(context, image.name)


class EspalierAddImage(bpy.types.Operator):
    """Add an image of this blend-file, such as a packed, generated, painted or pasted one"""

    bl_idname = "espalier.add_image"
    bl_label = "Add Image from Blend File"
    bl_options = {"REGISTER", "UNDO"}
    bl_property = "image"

    image: EnumProperty(name="Image", description="An image of this blend-file", items=_images_to_choose)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not any(image.type != "RENDER_RESULT" for image in bpy.data.images):
            cls.poll_message_set(translate("There are no images in this blend-file"))
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _add(context, self.image)


class EspalierAddRender(bpy.types.Operator):
    """Add the last render result as it is now"""

    bl_idname = "espalier.add_render"
    bl_label = "Add Render Result"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not any(image.type == "RENDER_RESULT" for image in bpy.data.images):
            cls.poll_message_set(translate("Nothing has been rendered yet"))
            return False
        if bpy.app.is_job_running("RENDER"):
            cls.poll_message_set(translate("Wait until the render has finished"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _add_made(self, context, images.add_render)


class EspalierPasteImage(bpy.types.Operator):
    """Add the image on the clipboard"""

    bl_idname = "espalier.paste_image"
    bl_label = "Paste Image"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.ops.image.clipboard_paste.poll():
            cls.poll_message_set(
                translate("There is no image on the clipboard, or the system does not pass it to Blender (as on X11)")
            )
            return False
        return context.area is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _add_made(self, context, images.paste)


class _ListedImage(bpy.types.Operator):
    index: IntProperty(min=0, options={"HIDDEN", "SKIP_SAVE"})


class EspalierRemoveImage(_ListedImage):
    """Remove this image from the list. The image itself is kept"""

    bl_idname = "espalier.remove_image"
    bl_label = "Remove Image"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        listed = context.scene.espalier.images
        if self.index >= len(listed):
            return {"CANCELLED"}
        listed.remove(self.index)
        return {"FINISHED"}


class EspalierMoveImage(_ListedImage):
    """Move this image in the list. The first image gives the object its name"""

    bl_idname = "espalier.move_image"
    bl_label = "Move Image"
    bl_options = {"REGISTER", "UNDO"}

    by: IntProperty(default=1, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        listed = context.scene.espalier.images
        if not (self.index < len(listed) and 0 <= self.index + self.by < len(listed)):
            return {"CANCELLED"}
        listed.move(self.index, self.index + self.by)
        return {"FINISHED"}


class ESPALIER_FH_images(bpy.types.FileHandler):
    """Lets image files be dropped onto the 3D viewport."""

    bl_idname = "ESPALIER_FH_images"
    bl_label = "Espalier"
    bl_import_operator = EspalierAddImages.bl_idname
    bl_file_extensions = ";".join(protocol.IMAGE_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


_classes = (
    EspalierAddImages,
    EspalierAddImage,
    EspalierAddRender,
    EspalierPasteImage,
    EspalierRemoveImage,
    EspalierMoveImage,
    ESPALIER_FH_images,
)
register, unregister = bpy.utils.register_classes_factory(_classes)
