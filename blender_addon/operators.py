"""What the buttons do. Thin: the work is done in plain functions."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import bpy
from bpy.props import CollectionProperty, IntProperty, StringProperty

from ..backend import protocol
from . import FOLDER, ROOT, pump, setup, thumbnails
from .jobs import Job, State
from .server.resources import find_models

IMAGE_GLOB = ";".join(f"*{suffix}" for suffix in protocol.IMAGE_SUFFIXES)


def new_job(context: bpy.types.Context) -> Job:
    """A job from the scene's settings, with a folder of its own."""
    settings = context.scene.espalier
    models = find_models(FOLDER, setup.models_folder(context))
    request = protocol.Generate(
        job=uuid.uuid4().hex,
        images=tuple(bpy.path.abspath(image.path) for image in settings.images),
        out=tempfile.mkdtemp(prefix="espalier-", dir=bpy.app.tempdir),
        model=models.get(settings.model, bpy.path.abspath(settings.model)),
        steps=settings.steps if settings.use_steps else None,
        seed=settings.seed,
        texture_size=int(settings.texture_size),
        faces=settings.faces,
        texture_source=settings.texture_source,
        normal_map=settings.normal_map,
        keep_raw=settings.keep_raw,
    )
    return Job(request, pump.target(context))


def find_job(identifier: str) -> Job | None:
    return next((job for job in pump.jobs.jobs if job.id == identifier), None)


class EspalierAddImages(bpy.types.Operator):
    """Choose reference images of one object: one picture, or several views"""

    bl_idname = "espalier.add_images"
    bl_label = "Add Images to Espalier"
    bl_options = {"REGISTER", "UNDO"}

    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default=IMAGE_GLOB, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.files:  # dropped onto the viewport
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        images = context.scene.espalier.images
        known = {bpy.path.abspath(image.path) for image in images}
        for file in self.files:
            path = str(Path(self.directory, file.name))
            thumbnails.forget(path)
            if file.name and path not in known:
                images.add().path = path
        pump.redraw("UI")
        return {"FINISHED"}


class EspalierRemoveImage(bpy.types.Operator):
    """Take this image off the list; the file stays"""

    bl_idname = "espalier.remove_image"
    bl_label = "Remove Image"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(min=0, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        images = context.scene.espalier.images
        if self.index >= len(images):
            return {"CANCELLED"}
        images.remove(self.index)
        return {"FINISHED"}


class EspalierGenerate(bpy.types.Operator):
    """Make a textured mesh of what the images show. Work can go on meanwhile"""

    bl_idname = "espalier.generate"
    bl_label = "Generate 3D"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not context.scene.espalier.images:
            cls.poll_message_set("Add an image first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        pump.submit(new_job(context))
        return {"FINISHED"}


class _JobOperator(bpy.types.Operator):
    job: StringProperty(options={"HIDDEN", "SKIP_SAVE"})


class EspalierCancel(_JobOperator):
    """Stop making this object"""

    bl_idname = "espalier.cancel"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None:
            return {"CANCELLED"}
        pump.cancel(job)
        return {"FINISHED"}


class EspalierInsert(_JobOperator):
    """Put this finished object into the scene, at the 3D cursor"""

    bl_idname = "espalier.insert"
    bl_label = "Insert"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None or job.state is not State.DONE:
            return {"CANCELLED"}
        here = (context.scene, context.collection, tuple(context.scene.cursor.location))
        pump.insert(job, *(pump.home(job) or here))
        return {"FINISHED"}


class EspalierDismiss(_JobOperator):
    """Take this off the list"""

    bl_idname = "espalier.dismiss"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None or job.active:
            return {"CANCELLED"}
        pump.forget(job)
        return {"FINISHED"}


class EspalierPreferencesShow(bpy.types.Operator):
    """Open Espalier's preferences"""

    bl_idname = "espalier.preferences_show"
    bl_label = "Open Preferences"

    def execute(self, context: bpy.types.Context) -> set[str]:
        return bpy.ops.preferences.addon_show(module=ROOT)


class ESPALIER_FH_images(bpy.types.FileHandler):
    bl_idname = "ESPALIER_FH_images"
    bl_label = "Espalier"
    bl_import_operator = EspalierAddImages.bl_idname
    bl_file_extensions = ";".join(protocol.IMAGE_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


_classes = (
    EspalierAddImages,
    EspalierRemoveImage,
    EspalierGenerate,
    EspalierCancel,
    EspalierInsert,
    EspalierDismiss,
    EspalierPreferencesShow,
    ESPALIER_FH_images,
)


def register() -> None:
    for cls in _classes:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(_classes):
        bpy.utils.unregister_class(cls)
