"""What the buttons do that make objects. Thin: the work is done in plain functions."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import dataclasses
import random
import uuid

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import pump
from ..extension import ROOT
from ..jobs.queue import Job, State
from ..request import generate, placement
from ..translations import translate

ROLLED = 1_000_000  # as many seeds are rolled; others can be typed


def find_job(identifier: str) -> Job | None:
    return next((job for job in pump.jobs.jobs if job.id == identifier), None)


class EspalierGenerate(bpy.types.Operator):
    """Make a textured mesh of what the images show. Work can go on meanwhile"""

    bl_idname = "espalier.generate"
    bl_label = "Generate 3D"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        obstacle = generate.obstacle(context)
        cls.poll_message_set(obstacle)
        return not obstacle

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.espalier
        if not settings.lock_seed:
            settings.seed = random_seed()
        try:
            jobs = generate.new_jobs(context)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for job in jobs:
            pump.submit(job)
        return {"FINISHED"}


class EspalierNewSeed(bpy.types.Operator):
    """Roll the dice for a new seed"""

    bl_idname = "espalier.new_seed"
    bl_label = "New Seed"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.espalier.seed = random_seed()
        return {"FINISHED"}


def random_seed() -> int:
    """A new seed, short enough to be told, and to be read below a picture of the history."""
    return random.randrange(ROLLED)


class EspalierShowTexture(bpy.types.Operator):
    """Show textures in this viewport's Solid shading, or materials' plain colors again"""

    bl_idname = "espalier.show_texture"
    bl_label = "Show Texture"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"

    def execute(self, context: bpy.types.Context) -> set[str]:
        shading = context.space_data.shading
        textured = shading.type == "SOLID" and shading.color_type == "TEXTURE"
        shading.type, shading.color_type = "SOLID", "MATERIAL" if textured else "TEXTURE"
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


class EspalierCancelAll(bpy.types.Operator):
    """Stop making all these objects"""

    bl_idname = "espalier.cancel_all"
    bl_label = "Cancel All"

    def execute(self, context: bpy.types.Context) -> set[str]:
        for job in pump.jobs.jobs:  # all of them before the next step, in which one could take the place of another
            if job.active:
                pump.jobs.cancel(job)
        pump.step()
        return {"FINISHED"}


class EspalierRetry(_JobOperator):
    """Make this object again"""

    bl_idname = "espalier.retry"
    bl_label = "Try Again"

    low_memory: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})
    new_seed: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None or job.state not in (State.FAILED, State.INTERRUPTED):
            return {"CANCELLED"}
        request = dataclasses.replace(
            job.request,
            job=uuid.uuid4().hex,
            low_memory=job.request.low_memory or self.low_memory,
            seed=random_seed() if self.new_seed else job.request.seed,
        )
        pump.jobs.jobs.remove(job)  # not forgotten: the new job takes over its folder, with the images in it
        new = Job(request, job.target, sources=job.sources, replaces=job.replaces, digests=job.digests)
        if job.writer is not None:
            generate.start_writing(new, job.writer.files)
        if job.target is None:  # it is of an earlier session
            there = pump.replaced(job)
            place = placement.find_place(context) if there is None else placement.bounds(there)
            new.target = pump.target(context, *place, replaces=there)
        pump.submit(new)
        return {"FINISHED"}


class EspalierInsert(_JobOperator):
    """Put this finished object into the scene: in its place if that is there, else at the 3D cursor"""

    bl_idname = "espalier.insert"
    bl_label = "Insert"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None or job.state is not State.DONE:
            return {"CANCELLED"}
        there = pump.replaced(job)
        if there is not None and there.mode != "OBJECT":
            self.report({"ERROR"}, translate("Leave Edit Mode first"))
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


_classes = (
    EspalierGenerate,
    EspalierNewSeed,
    EspalierShowTexture,
    EspalierCancel,
    EspalierCancelAll,
    EspalierRetry,
    EspalierInsert,
    EspalierDismiss,
    EspalierPreferencesShow,
)
register, unregister = bpy.utils.register_classes_factory(_classes)
