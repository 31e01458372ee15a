"""Operators for existing objects: regenerate, variants, retexture, image cameras, mark as assets."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import bpy
from bpy.props import EnumProperty, IntProperty

from .. import pump
from ..jobs.queue import Job
from ..request import again, generate, images, placement, retexture
from ..scene import cameras
from ..scene.made import is_made, recall, shown
from ..translations import translate
from . import history_operators

Made = TypeVar("Made")


def selected(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected objects that remember how they were made."""
    return [target for target in context.selected_objects if is_made(target)]


def paintable(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected objects that can be painted."""
    return [target for target in context.selected_objects if retexture.can_be_painted(target)]


class _MadeOperator(bpy.types.Operator):
    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set(translate("Select an object made with Espalier"))
        return bool(selected(context))

    def submit(self, targets: list[Made], job_of: Callable[[Made], Job]) -> set[str]:
        """Submit a job for each target. If one of them fails, report why and submit none."""
        jobs: list[Job] = []
        try:
            for target in targets:
                jobs.append(job_of(target))
        except (ValueError, TypeError) as error:
            for job in jobs:
                job.remove_files()
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        pump.submit(*jobs)
        return {"FINISHED"}


HOW = [
    ("SEED", "New Seed", "Use the object's own images and settings, with a new seed"),
    ("PANEL", "Panel Settings", "Use the images and settings in the panel"),
]


class EspalierRegenerate(_MadeOperator):
    """Generate the selected objects again in place. Name, transform, parent and modifiers are kept"""

    bl_idname = "espalier.regenerate"
    bl_label = "Regenerate"
    bl_options = {"REGISTER"}

    how: EnumProperty(
        name="Mode",
        description="Which images, settings and seed to use",
        items=HOW,
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        words = next(words for how, _, words in HOW if how == properties.how)
        return f"{translate(str(cls.__doc__))}. {translate(words)}"

    def execute(self, context: bpy.types.Context) -> set[str]:
        if self.how == "PANEL" and (obstacle := generate.obstacle(context)):
            self.report({"ERROR"}, obstacle)
            return {"CANCELLED"}
        return self.submit(selected(context), lambda target: self._job(context, target))

    def _job(self, context: bpy.types.Context, target: bpy.types.Object) -> Job:
        location, size = placement.bounds(target)
        if self.how == "PANEL":
            panel = context.scene.espalier
            pictures = images.collect(panel)
            job = generate.new_job(context, pictures, seed=panel.seed, location=location, size=size)
        else:
            seed, settings = generate.random_seed(), recall(target)
            job = again.new_job(context, settings, seed=seed, location=location, size=size)
        return again.in_place_of(job, target)


class EspalierVariants(_MadeOperator):
    """Generate variants of each selected object with new seeds, in a row beside it"""

    bl_idname = "espalier.variants"
    bl_label = "Variants"
    bl_options = {"REGISTER"}

    count: IntProperty(name="Count", description="Number of variants to generate", default=3, min=1, max=16)

    def execute(self, context: bpy.types.Context) -> set[str]:
        placed: list[tuple[bpy.types.Object, placement.Location, float]] = []
        for target in selected(context):
            planned = [(location, size) for _, location, size in placed]
            row, size = placement.variants(context, target, self.count, planned)
            placed += [(target, location, size) for location in row]
        return self.submit(placed, lambda one: self._job(context, *one))

    def _job(
        self, context: bpy.types.Context, target: bpy.types.Object, location: placement.Location, size: float
    ) -> Job:
        return again.new_job(context, recall(target), seed=generate.random_seed(), location=location, size=size)


class EspalierRestoreSettings(bpy.types.Operator):
    """Load the images and settings of the active object into the panel"""

    bl_idname = "espalier.restore_settings"
    bl_label = "Restore Settings"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set(translate("Select an object made with Espalier"))
        return context.active_object is not None and is_made(context.active_object)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            settings = recall(context.active_object)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return history_operators.restore(self, context, settings)


class EspalierRetexture(_MadeOperator):
    """Texture the selected objects from the images in the panel. Their shape does not change"""

    bl_idname = "espalier.retexture"
    bl_label = "Retexture"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        obstacle = generate.obstacle(context)
        if not obstacle and context.mode != "OBJECT":
            obstacle = translate("Switch to Object Mode first")
        if not obstacle and not paintable(context):
            obstacle = translate("Select a mesh with faces")
        cls.poll_message_set(obstacle)
        return not obstacle

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.submit(paintable(context), lambda target: retexture.new_job(context, target))


class EspalierAddCameras(bpy.types.Operator):
    """Add the cameras that the images of the active object were taken with, with the images as their backgrounds"""

    bl_idname = "espalier.add_cameras"
    bl_label = "Add Image Cameras"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set(translate("Select an object whose texture was painted from its images"))
        active = context.active_object
        return active is not None and is_made(active) and cameras.has_cameras(active)

    def execute(self, context: bpy.types.Context) -> set[str]:
        active = context.active_object
        try:
            added = cameras.add(active, context.collection, list(recall(active)["images"]))
        except ValueError as error:  # the file may be from anybody
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if added and context.scene.camera is None:
            context.scene.camera = added[0]
        return {"FINISHED"}


class EspalierMarkAsset(bpy.types.Operator):
    """Mark the selected objects as assets for the Asset Browser, with a preview"""

    bl_idname = "espalier.mark_asset"
    bl_label = "Mark as Asset"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set(translate("Select an object made with Espalier"))
        return bool(selected(context))

    def execute(self, context: bpy.types.Context) -> set[str]:
        for target in selected(context):
            target.asset_mark()
            target.asset_generate_preview()
            target.asset_data.description = translate("Made with Espalier, seed {seed}").format(
                seed=shown(target, "seed")
            )
        return {"FINISHED"}


_classes = (
    EspalierRegenerate,
    EspalierVariants,
    EspalierRestoreSettings,
    EspalierRetexture,
    EspalierAddCameras,
    EspalierMarkAsset,
)
register, unregister = bpy.utils.register_classes_factory(_classes)
