"""Operators that generate objects and handle jobs. They are thin: plain functions do the work."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from .. import pump
from ..extension import ROOT
from ..jobs.failures import alike
from ..jobs.queue import Job, State
from ..request import explore, generate, opened, placement, retry
from ..request.generate import random_seed
from ..scene import candidates
from ..translations import in_words, translate


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
        pump.submit(*jobs)
        return {"FINISHED"}


class EspalierNewSeed(bpy.types.Operator):
    """Pick a new random seed"""

    bl_idname = "espalier.new_seed"
    bl_label = "New Seed"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.espalier.seed = random_seed()
        return {"FINISHED"}


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


class EspalierMoveJob(_JobOperator):
    """Generate this object earlier or later than others in the queue"""

    bl_idname = "espalier.move_job"
    bl_label = "Move Job"

    by: IntProperty(default=1, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = find_job(self.job)
        if job is None or not pump.jobs.move(job, self.by):
            return {"CANCELLED"}
        pump.redraw("UI")
        return {"FINISHED"}


class _FailedOperator(_JobOperator):
    alike: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def those(self) -> list[Job]:
        """The job; with ``alike`` also all that failed for the same reason. Empty if there is nothing to do."""
        job = find_job(self.job)
        if job is None or job.active:
            return []
        return alike(job, pump.jobs.jobs) if self.alike and job.state is State.FAILED else [job]


class EspalierRetry(_FailedOperator):
    """Generate this object again, and all others that failed for the same reason"""

    bl_idname = "espalier.retry"
    bl_label = "Try Again"

    low_memory: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})
    new_seed: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        ended = [job for job in self.those() if job.state in (State.FAILED, State.INTERRUPTED)]
        again: dict[Job, Job] = {}
        try:
            for job in ended:
                if job.request.seeds:
                    again[job] = explore.missing(job)
                    continue
                seed = random_seed() if self.new_seed else job.request.seed
                again[job] = retry.retried(context, job, seed=seed, low_memory=self.low_memory)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except OSError as error:
            self.report({"ERROR"}, in_words(error, Path(job.request.out).parents[1]))
            return {"CANCELLED"}
        if not again:
            return {"CANCELLED"}
        for job in again.values():
            if job.request.seeds:
                candidates.expect(job)
        pump.submit_again(again)
        return {"FINISHED"}


class EspalierInsert(_JobOperator):
    """Insert this object where it was meant to be. If that place is gone, insert it beside what is there"""

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
        home = pump.home(job)
        if home is None:
            (location,) = placement.free_row(context, pump.size_of(job))
            home = (context.scene, context.collection, location)
        pump.insert(job, *home)
        return {"FINISHED"}


class EspalierDismiss(_FailedOperator):
    """Remove this job from the list, and all others that failed for the same reason"""

    bl_idname = "espalier.dismiss"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[str]:
        those = self.those()
        for job in those:
            pump.forget(job)
        return {"FINISHED"} if those else {"CANCELLED"}


class EspalierDismissNotice(bpy.types.Operator):
    """Remove this sentence from the panel"""

    bl_idname = "espalier.dismiss_notice"
    bl_label = "Dismiss"

    index: IntProperty(min=0, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        if self.index >= len(pump.notices):
            return {"CANCELLED"}
        del pump.notices[self.index]
        return {"FINISHED"}


class EspalierPreferencesShow(bpy.types.Operator):
    """Open Espalier's preferences"""

    bl_idname = "espalier.preferences_show"
    bl_label = "Open Preferences"

    def execute(self, context: bpy.types.Context) -> set[str]:
        return bpy.ops.preferences.addon_show(module=ROOT)


class EspalierTemporaryFolder(bpy.types.Operator):
    """Show where Blender keeps temporary files, in its own preferences"""

    bl_idname = "espalier.temporary_folder"
    bl_label = "Temporary Files..."

    def execute(self, context: bpy.types.Context) -> set[str]:
        return bpy.ops.screen.userpref_show(section="FILE_PATHS")


_classes = (
    EspalierGenerate,
    EspalierNewSeed,
    EspalierShowTexture,
    EspalierCancel,
    EspalierCancelAll,
    EspalierMoveJob,
    EspalierRetry,
    EspalierInsert,
    EspalierDismiss,
    EspalierDismissNotice,
    EspalierTemporaryFolder,
    EspalierPreferencesShow,
)
register, unregister = bpy.utils.register_classes_factory(_classes)
