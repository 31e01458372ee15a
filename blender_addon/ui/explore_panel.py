"""Draws Explore, its candidates and the live preview in the panel. Drawing changes nothing."""

from __future__ import annotations

import bpy

from ..request import live
from ..scene import candidates
from ..scene.candidates import Candidate
from ..translations import translate
from . import explore_operators as operators
from .texts import characters, draw_text

#: Characters that a column of pictures needs.
COLUMN = 9
MOST_COLUMNS = 4


def draw_explore(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the buttons Explore and Live, and below them what they have brought."""
    settings = context.scene.espalier
    row = layout.row(align=True)
    row.operator(operators.EspalierExplore.bl_idname, icon="LIGHTPROBE_VOLUME").how = "NEW"
    number = row.row(align=True)
    number.ui_units_x = 2.5
    number.prop(settings, "candidates", text="")
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
    made = sum(candidate.is_made for candidate in shown)
    head = layout.row(align=True)
    head.label(text=translate("{n} of {all} candidates").format(n=made, all=len(shown)), translate=False)
    if any(candidate.answer is None for candidate in shown):
        head.operator(operators.EspalierCancelExplore.bl_idname, text="", icon="CANCEL", emboss=False)
    head.operator(operators.EspalierPutAwayCandidates.bl_idname, text="", icon="X", emboss=False)
    columns = max(1, min(MOST_COLUMNS, width // COLUMN))
    grid = layout.grid_flow(row_major=True, columns=columns, even_columns=True, even_rows=True)
    for candidate in shown:
        draw_candidate(grid.column(align=True), candidate)
    for candidate in shown:
        if candidate.answer is not None and candidate.answer.problem:
            draw_text(layout, f"{candidate.number}: {translate(candidate.answer.problem)}", width)
    row = layout.row(align=True)
    row.operator(operators.EspalierExplore.bl_idname, text="More", icon="ADD").how = "MORE"
    row.operator(operators.EspalierExplore.bl_idname, text="All Again", icon="FILE_REFRESH").how = "AGAIN"
    row.operator(operators.EspalierTakeAllCandidates.bl_idname, icon="CHECKMARK")


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
