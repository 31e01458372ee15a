"""Draws the job queue in the panel. Drawing changes nothing."""

from __future__ import annotations

import time

import bpy

from .. import pump
from ..jobs.progress import clock, expected, queue_seconds, seconds_left
from ..jobs.queue import Job, State
from ..translations import translate
from . import operators
from .failures import draw_failures
from .texts import draw_text, fitting

STAGES = {
    "load": "Loading the model",
    "prepare": "Preparing the image",
    "encode": "Analyzing the image",
    "structure": "Shape",
    "latents": "Detail",
    "decode": "Surface",
    "finish": "Texture",
}

#: Characters that the buttons of a job, and the arrow and the cross of the queue, take from a line.
MARGIN, FOLD = 10, 7


def draw_ended(layout: bpy.types.UILayout, width: int) -> None:
    """Draw what waits for the user: results to insert, jobs that were interrupted, and last what has failed."""
    for job in pump.jobs.jobs:
        if not job.active and job.state is not State.FAILED:
            draw_job(layout, job, width)
    draw_failures(layout, width)


def draw_active(layout: bpy.types.UILayout, width: int) -> None:
    """Draw the jobs that are queued or run. Several are one line, which can be unfolded."""
    active = [job for job in pump.jobs.jobs if job.active]
    if len(active) > 1:
        head, body = layout.panel("ESPALIER_queue", default_closed=True)
        draw_queue(head, active, width - FOLD)
        if body is not None:
            for job in active:
                draw_job(body, job, width)
    elif active:
        draw_job(layout, active[0], width)


def draw_queue(layout: bpy.types.UILayout, active: list[Job], width: int) -> None:
    """Draw the queue as one line: how many jobs there are, the time until the last one ends, and Cancel All."""
    running = pump.jobs.running
    layout.progress(factor=running.fraction if running else 0.0, text=queue_text(active, width), translate=False)
    layout.operator(operators.EspalierCancelAll.bl_idname, text="", icon="X", emboss=False)


def queue_text(active: list[Job], width: int) -> str:
    """The text of the queue's line, in so many characters: *3 jobs · 1:07 left*, or just *3 · 1:07*."""
    jobs = translate("{n} jobs").format(n=len(active))
    left = queue_seconds(active, pump.jobs.timings, time.monotonic())
    if left is None:
        return fitting(width, jobs, str(len(active)))
    words = translate("{time} left").format(time=clock(left))
    return fitting(width, f"{jobs}  ·  {words}", f"{len(active)} · {clock(left)}")


def draw_job(layout: bpy.types.UILayout, job: Job, width: int) -> None:
    """Draw one job that has not failed: a progress bar, or a button that inserts the result or runs it again."""
    box = layout.box()
    head = box.row()
    name = fitting(width - MARGIN, f"{job.name}  ·  {seed_text(job)}", job.name)
    match job.state:
        case State.QUEUED | State.RUNNING:
            head.label(text=name, icon="MESH_MONKEY" if job.state is State.RUNNING else "SORTTIME", translate=False)
            draw_moves(head, job)
            head.operator(operators.EspalierCancel.bl_idname, text="", icon="X", emboss=False).job = job.id
            if job.state is State.RUNNING or (not pump.jobs.running and job is pump.jobs.queued[0]):
                box.progress(factor=job.fraction, text=progress_text(job, width), translate=False)
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


def draw_moves(layout: bpy.types.UILayout, job: Job) -> None:
    """Draw the arrows that move a queued job, where there are others that it can be moved before or behind."""
    queued = pump.jobs.queued
    if job not in queued or len(queued) < 2:
        return
    row = layout.row(align=True)
    for by, arrow in ((-1, "TRIA_UP"), (1, "TRIA_DOWN")):
        button = row.row(align=True)
        button.enabled = 0 <= queued.index(job) + by < len(queued)
        move = button.operator(operators.EspalierMoveJob.bl_idname, text="", icon=arrow, emboss=False)
        move.job, move.by = job.id, by


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
    if pump.has_lost_its_object(job):
        return "The object that it was made for was deleted"
    return "Generated for a file or scene that is no longer open"


def progress_text(job: Job, width: int) -> str:
    """The text of the progress bar, in so many characters: *Shape 12/25 · 34% · 0:07 left*, or just *Shape · 0:07*."""
    if job.cancelling:
        return translate("Canceling")
    if job.state is State.QUEUED:
        return translate("Waiting") if pump.jobs.running else translate("Starting the backend")
    stage = translate(STAGES.get(job.stage, job.stage or "Starting"))
    step = f"{stage} {job.step}/{job.steps}" if job.steps > 1 else stage
    share = f"{job.fraction:.0%}"
    left = seconds_left(job, expected(job, pump.jobs.timings), time.monotonic())
    if left is None:
        return fitting(width, f"{step}  ·  {share}", f"{stage} {share}")
    words = translate("{time} left").format(time=clock(left))
    return fitting(width, f"{step}  ·  {share}  ·  {words}", f"{stage}  ·  {words}", f"{stage} · {clock(left)}")
