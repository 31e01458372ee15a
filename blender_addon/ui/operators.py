"""Operators that generate objects and handle jobs. They are thin: plain functions do the work."""


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
from ..request import generate, opened, placement
from ..translations import translate

ROLLED = 1_000_000  # random seeds are below this number; larger ones can be typed


def find_job(identifier: str) -> Job | None:
    """The job with this id, or None."""
    return next((job for job in pump.jobs.jobs if job.id == identifier), None)


class EspalierGenerate(bpy.types.Operator):
    """Generate a textured mesh from the images, in the background"""

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
        opened.ask()  # who has something made of a file's images wants to see their cut-outs
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
    """Pick a new random seed"""

    bl_idname = "espalier.new_seed"
    bl_label = "New Seed"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.espalier.seed = random_seed()
        return {"FINISHED"}


def random_seed() -> int:
    """A new seed: short enough to tell somebody, and to fit below a picture of the history."""
    return random.randrange(ROLLED)


class EspalierShowTexture(bpy.types.Operator):
    """Switch this viewport's Solid shading between texture and material colors"""

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
    """Stop generating this object"""

    bl_idname = "espalier.cancel"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None:
            return {"CANCELLED"}
        pump.cancel(job)
        return {"FINISHED"}


class EspalierCancelAll(bpy.types.Operator):
    """Stop generating all objects in the queue"""

    bl_idname = "espalier.cancel_all"
    bl_label = "Cancel All"

    def execute(self, context: bpy.types.Context) -> set[str]:
        for job in pump.jobs.jobs:  # all of them before the next step, which could start another one
            if job.active:
                pump.jobs.cancel(job)
        pump.step()
        return {"FINISHED"}


class EspalierRetry(_JobOperator):
    """Generate this object again"""

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
        pump.jobs.jobs.remove(job)  # not ``forget``: the new job takes over its folder with the images
        new = Job(request, job.target, sources=job.sources, replaces=job.replaces, digests=job.digests)
        if job.writer is not None:
            generate.start_writing(new, job.writer.files)
        if job.target is None:  # from an earlier session
            there = pump.replaced(job)
            place = placement.find_place(context) if there is None else placement.bounds(there)
            new.target = pump.target(context, *place, replaces=there)
        pump.submit(new)
        return {"FINISHED"}


class EspalierInsert(_JobOperator):
    """Insert this object where it was meant to be. If that place is gone, insert it at the 3D cursor"""

    bl_idname = "espalier.insert"
    bl_label = "Insert"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None or job.state is not State.DONE:
            return {"CANCELLED"}
        there = pump.replaced(job)
        if there is not None and there.mode != "OBJECT":
            self.report({"ERROR"}, translate("Switch to Object Mode first"))
            return {"CANCELLED"}
        here = (context.scene, context.collection, tuple(context.scene.cursor.location))
        pump.insert(job, *(pump.home(job) or here))
        return {"FINISHED"}


class EspalierDismiss(_JobOperator):
    """Remove this job from the list"""

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
