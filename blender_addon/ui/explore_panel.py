"""Draws Explore, its candidates and the live preview in the panel. Drawing changes nothing."""

from __future__ import annotations

import time

import bpy

from .. import pump
from ..jobs.progress import clock, expected, seconds_left
from ..request import live
from ..scene import candidates
from ..scene.candidates import Candidate
from ..translations import translate
from . import explore_operators as operators
from .texts import NARROW, characters, draw_text, fitting, is_narrow

#: Characters that a column of pictures needs.
COLUMN = 9
MOST_COLUMNS = 4
BUTTONS = 8  # characters that the buttons take from the line above the pictures


def draw_explore(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the buttons Explore and Live, and below them what they have brought."""
    settings = context.scene.espalier
    row = layout.row(align=True)
    row.operator(operators.EspalierExplore.bl_idname, icon="LIGHTPROBE_VOLUME").how = "NEW"
    number = row.row(align=True)
    number.ui_units_x = 2.5
    number.prop(settings, "candidates", text="")
    if is_narrow(context):
        row = layout.row(align=True)
    else:
        row.separator()
    row.operator(operators.EspalierLive.bl_idname, icon="REC", depress=live.is_on())
    if len(settings.images) > 1:
        layout.row(align=True).prop(settings, "candidate_views", expand=True)
    if live.is_on():
        draw_live(layout, characters(context))
    if candidates.shown():
        draw_candidates(layout.box(), characters(context))
    elif candidates.listed():
        layout.operator(operators.EspalierBringBackCandidates.bl_idname, icon="LOOP_BACK")


def draw_live(layout: bpy.types.UILayout, width: int) -> None:
    """Draw what the live preview is doing, and the button that keeps it."""
    box = layout.box()
    row = box.row()
    row.operator(operators.EspalierKeepLive.bl_idname, icon="CHECKMARK")
    problem = live.problem()
    if problem is not None:
        draw_text(box, problem.message, width)
        draw_text(box, problem.hint, width, active=False)
    elif live.is_waiting():
        draw_text(box, "The preview waits for the queue", width, active=False)


def draw_candidates(layout: bpy.types.UILayout, width: int) -> None:
    """Draw the candidates as pictures with their numbers, which take them, and what can be done with all of them."""
    shown = candidates.shown()
    head = layout.row(align=True)
    if all(candidate.answer is not None for candidate in shown):
        head.label(text=count_text(shown), translate=False)
    else:
        share = sum(candidate.answer is not None for candidate in shown) / len(shown)
        head.progress(factor=share, text=making_text(shown, width - BUTTONS), translate=False)
        head.operator(operators.EspalierCancelExplore.bl_idname, text="", icon="CANCEL", emboss=False)
    head.operator(operators.EspalierPutAwayCandidates.bl_idname, text="", icon="X", emboss=False)
    # Above the pictures, and from the beginning: else it would be out of sight, or would move them under the mouse.
    draw_text(layout, keys_text(shown), width, active=False)
    columns = max(1, min(MOST_COLUMNS, width // COLUMN))
    grid = layout.grid_flow(row_major=True, columns=columns, even_columns=True, even_rows=True)
    for candidate in shown:
        draw_candidate(grid.column(align=True), candidate)
    for candidate in shown:
        if candidate.answer is not None and candidate.answer.problem:
            draw_text(layout, f"{candidate.number}: {translate(candidate.answer.problem)}", width)
    row = layout.column(align=True) if width < NARROW else layout.row(align=True)
    row.operator(operators.EspalierExplore.bl_idname, text="More", icon="ADD").how = "MORE"
    row.operator(operators.EspalierExplore.bl_idname, text="All Again", icon="FILE_REFRESH").how = "AGAIN"
    row.operator(operators.EspalierTakeAllCandidates.bl_idname, icon="CHECKMARK")


def count_text(shown: list[Candidate]) -> str:
    """How many candidates there are: *2 of 4 candidates*."""
    made = sum(candidate.is_made for candidate in shown)
    return translate("{n} of {all} candidates").format(n=made, all=len(shown))


def making_text(shown: list[Candidate], width: int) -> str:
    """The same with the time until the last one is there, if that can be said, in so many characters."""
    job, words = pump.jobs.running, count_text(shown)
    if job is None or job not in candidates.jobs():
        return words
    left = seconds_left(job, expected(job, pump.jobs.timings), time.monotonic())
    if left is None:
        return words
    return fitting(
        width, f"{words}  ·  {translate('{time} left').format(time=clock(left))}", f"{words} · {clock(left)}"
    )


def keys_text(shown: list[Candidate]) -> str:
    """Which keys take a candidate, in the user's language."""
    last = max(candidate.number for candidate in shown)
    if last < len(operators.KEYS):
        return translate("Keys 1 to {n} over the viewport take one").format(n=last)
    return translate("Keys 1 to 9 and 0 over the viewport take one")


def draw_candidate(column: bpy.types.UILayout, candidate: Candidate) -> None:
    """Draw one candidate: its picture, and below it the button that takes it."""
    column.template_icon(candidates.icon(candidate), scale=3.5)
    button = column.row(align=True)
    button.enabled = candidate.is_made
    icon = "CHECKMARK" if candidate.taken else "NONE"
    if candidate.answer is None:
        icon = "SORTTIME"
    elif candidate.answer.problem:
        icon = "ERROR"
    take = button.operator(operators.EspalierTakeCandidate.bl_idname, text=str(candidate.number), icon=icon)
    take.number = candidate.number
