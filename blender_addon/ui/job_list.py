"""Draws the job queue in the panel. Drawing changes nothing."""

from __future__ import annotations

import time

import bpy

from .. import pump
from ..jobs.progress import clock, seconds_left
from ..jobs.queue import Job, State
from ..translations import translate
from . import operators
from .failures import draw_failures
from .texts import draw_text

STAGES = {
    "load": "Loading the model",
    "prepare": "Preparing the image",
    "encode": "Analyzing the image",
    "structure": "Shape",
    "latents": "Detail",
    "decode": "Surface",
    "finish": "Texture",
}


def draw_jobs(layout: bpy.types.UILayout, width: int) -> None:
    """Draw all jobs in the list, and a button that cancels them all. Those that failed come last."""
    jobs = pump.jobs.jobs
    if sum(job.active for job in jobs) > 1:
        row = layout.row()
        row.label(text=translate("{n} in the queue").format(n=sum(job.active for job in jobs)), translate=False)
        row.operator(operators.EspalierCancelAll.bl_idname, icon="CANCEL")
    for job in jobs:
        if job.state is not State.FAILED:
            draw_job(layout, job, width)
    draw_failures(layout, width)


def draw_job(layout: bpy.types.UILayout, job: Job, width: int) -> None:
    """Draw one job that has not failed: a progress bar, or a button that inserts the result or runs it again."""
    box = layout.box()
    head = box.row()
    name = f"{job.name}  ·  {seed_text(job)}"
    match job.state:
        case State.QUEUED | State.RUNNING:
            head.label(text=name, icon="MESH_MONKEY" if job.state is State.RUNNING else "SORTTIME", translate=False)
            head.operator(operators.EspalierCancel.bl_idname, text="", icon="X", emboss=False).job = job.id
            if job.state is State.RUNNING or not pump.jobs.running:
                box.progress(factor=job.fraction, text=progress_text(job), translate=False)
        case State.DONE:
            head.label(text=name, icon="CHECKMARK", translate=False)
            head.operator(operators.EspalierDismiss.bl_idname, text="", icon="TRASH", emboss=False).job = job.id
            draw_text(box, waiting_text(job), width)
            box.operator(operators.EspalierInsert.bl_idname, icon="IMPORT").job = job.id
        case State.INTERRUPTED:
            head.label(text=name, icon="RECOVER_LAST", translate=False)
            head.operator(operators.EspalierDismiss.bl_idname, text="", icon="TRASH", emboss=False).job = job.id
            draw_text(box, "Blender was closed before this job finished", width)
            box.operator(operators.EspalierRetry.bl_idname, text="Run Again", icon="FILE_REFRESH").job = job.id


def seed_text(job: Job) -> str:
    """What tells a job from others of the same image: its seed, or how many candidates it makes."""
    if job.request.seeds:
        return translate("{n} candidates").format(n=len(job.request.seeds))
    return str(job.request.seed)


def waiting_text(job: Job) -> str:
    """Why a finished object has not been inserted yet."""
    obstacle = pump.blocked_by(job) if pump.home(job) is not None else ""
    if obstacle:
        return translate("Waiting for {what} to finish").format(what=translate(obstacle))
    if job.recovered:
        there = pump.replaced(job)
        if there is not None:
            return translate("Finished before Blender was closed. It replaces {name}").format(name=there.name)
        return "Finished before Blender was closed"
    return "Generated for a file or scene that is no longer open"


def progress_text(job: Job) -> str:
    """The text of the progress bar: *Shape 12/25 · 34% · 0:07 left*."""
    if job.cancelling:
        return translate("Canceling")
    if job.state is State.QUEUED:
        return translate("Waiting") if pump.jobs.running else translate("Starting the backend")
    parts = [translate(STAGES.get(job.stage, job.stage or "Starting"))]
    if job.steps > 1:
        parts[0] += f" {job.step}/{job.steps}"
    parts.append(f"{job.fraction:.0%}")
    earlier = None if job.request.mesh else pump.jobs.timings.stages(job.request.model, job.request.steps)
    left = seconds_left(job, earlier, time.monotonic())
    if left is not None:
        parts.append(translate("{time} left").format(time=clock(left)))
    return "  ·  ".join(parts)
