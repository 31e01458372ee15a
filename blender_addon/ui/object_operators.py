"""Operators for existing objects and for the history: regenerate, retexture, mark as assets, insert again."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from zipfile import BadZipFile

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ...backend import protocol
from .. import choices, pump
from ..jobs.queue import Job
from ..request import again, generate, images, placement, retexture
from ..scene import cameras, history, shading
from ..scene.made import is_made, recall, shown
from ..scene.mesh_import import create_object
from ..translations import in_words, translate

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


class EspalierRegenerate(_MadeOperator):
    """Generate the selected objects again in place. Name, transform, parent and modifiers are kept"""

    bl_idname = "espalier.regenerate"
    bl_label = "Regenerate"
    bl_options = {"REGISTER"}

    how: EnumProperty(
        name="Mode",
        description="Which images, settings and seed to use",
        items=[
            ("SEED", "New Seed", "Use the object's own images and settings, with a new seed"),
            ("PANEL", "Panel Settings", "Use the images and settings in the panel"),
        ],
    )

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
        lost = again.restore(settings, context.scene.espalier)
        if lost:
            self.report({"WARNING"}, translate("Could not restore: {what}").format(what=", ".join(lost)))
        pump.redraw("UI")
        return {"FINISHED"}


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


class _EntryOperator(bpy.types.Operator):
    entry: StringProperty(options={"HIDDEN", "SKIP_SAVE"})


class EspalierInsertAgain(_EntryOperator):
    """Insert this result beside what is there. It is generated again if its files are gone"""

    bl_idname = "espalier.insert_again"
    bl_label = "Insert Again"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        (location,) = placement.free_row(context, entry.size)
        if entry.result is None:
            return self._generate(context, entry, location)
        try:
            made = create_object(
                entry.result, name=entry.name, collection=context.collection, settings=entry.settings, size=entry.size
            )
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except (OSError, BadZipFile) as error:  # the temporary folder was cleared, or its disk was full
            why = error if isinstance(error, OSError) else OSError(None, str(error))
            self.report({"WARNING"}, in_words(why, history.folder(), "It is generated again."))
            history.forget_files(entry)
            return self._generate(context, entry, location)
        made.location = location
        pump.select(made, context.scene)
        if choices.show_colors(context):
            shading.show(made, shading.viewport_of(context))
        return {"FINISHED"}

    def _generate(self, context: bpy.types.Context, entry: history.Entry, location: placement.Location) -> set[str]:
        """Make an entry's object again."""
        seed = entry.settings.get("seed", protocol.default("seed"))
        try:
            job = again.new_job(context, entry.settings, seed=seed, location=location, size=entry.size)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        pump.submit(job)
        return {"FINISHED"}


class EspalierForget(_EntryOperator):
    """Remove this result from the history. Objects in the scene are kept"""

    bl_idname = "espalier.forget"
    bl_label = "Remove from History"

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        history.remove(entry)
        return {"FINISHED"}


_classes = (
    EspalierRegenerate,
    EspalierVariants,
    EspalierRestoreSettings,
    EspalierRetexture,
    EspalierAddCameras,
    EspalierMarkAsset,
    EspalierInsertAgain,
    EspalierForget,
)
register, unregister = bpy.utils.register_classes_factory(_classes)
