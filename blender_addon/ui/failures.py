"""Draws what has failed: one message for each cause, with the buttons that help. Drawing changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from ...backend import protocol
from .. import installation, pump
from ..jobs.failures import grouped
from ..jobs.queue import Job, State
from ..request import cutouts
from ..translations import OURS, translate
from . import operators
from .cutout_operators import EspalierRetryCutOuts
from .image_operators import EspalierAddImages
from .texts import draw_text

#: Beginnings of error codes, by what may help: another image, another seed, the installation, Blender's preferences.
OF_THE_IMAGE = ("image_", "object_too_small", "background_")
OF_THE_SEED = ("structure_empty", "mesh_empty", "empty_mesh")
OF_THE_INSTALLATION = (
    "backend_unavailable",
    "backend_damaged",
    "backend_protocol",
    "model_",
    "checkpoint_",
    "files_missing",
    "device_",
)
OF_THE_DISK = ("disk_full", "folder_read_only", "folder_forbidden")
#: Those of the image after which the same image may do: it was there and is gone, or changed while it was copied.
MAY_COME_BACK = ("image_missing", "image_forbidden", "image_changed")
#: Those that the log tells more about, beside those of a backend that failed as a whole.
IN_THE_LOG = ("internal", "out_of_memory", protocol.DEVICE_LOST, "result_damaged")
#: So many names are said of those that failed for the same reason.
MOST_NAMES = 3


def draw_failures(layout: bpy.types.UILayout, width: int) -> None:
    """Draw what the artist is told without a job, and each group of jobs that failed for the same reason."""
    for index, words in enumerate(pump.notices):
        box = layout.box()
        row = box.row()
        row.label(text="Note", text_ctxt=OURS, icon="INFO")
        row.operator(operators.EspalierDismissNotice.bl_idname, text="", icon="X", emboss=False).index = index
        draw_text(box, words, width)
        if translate(pump.FOR_THE_TEMPORARY_FOLDER) in words:
            box.operator(operators.EspalierTemporaryFolder.bl_idname, icon="PREFERENCES")
    for group in grouped(job for job in pump.jobs.jobs if job.state is State.FAILED):
        draw_group(layout.box(), group, width)


def draw_group(box: bpy.types.UILayout, group: Sequence[Job], width: int) -> None:
    """Draw the jobs that failed for one reason: which they are, why, and one button for all of them."""
    error = group[0].error
    assert error is not None
    head = box.row()
    head.alert = True
    head.label(text=title(group), icon="ERROR", translate=False)
    dismiss = head.operator(operators.EspalierDismiss.bl_idname, text="", icon="X", emboss=False)
    dismiss.job, dismiss.alike = group[0].id, True
    draw_text(box, error.message, width)
    draw_text(box, error.hint, width, active=False)
    draw_remedies(box.column(align=True), group)


def title(group: Sequence[Job]) -> str:
    """Which objects failed: *mug  ·  7*, or *3 objects: mug, chair*."""
    if len(group) == 1:
        return f"{group[0].name}  ·  {group[0].request.seed}"
    names = list(dict.fromkeys(job.name for job in group))
    more = ", ..." if len(names) > MOST_NAMES else ""
    return translate("{n} objects: {names}").format(n=len(group), names=", ".join(names[:MOST_NAMES]) + more)


def draw_remedies(layout: bpy.types.UILayout, group: Sequence[Job]) -> None:
    """Draw the buttons that may mend the error of a group, the likeliest first."""
    error = group[0].error
    assert error is not None
    code = error.code
    if code.startswith(OF_THE_INSTALLATION):
        layout.operator(operators.EspalierPreferencesShow.bl_idname, icon="PREFERENCES")
    if pump.FOR_THE_TEMPORARY_FOLDER in error.hint:
        layout.operator(operators.EspalierTemporaryFolder.bl_idname, icon="PREFERENCES")
    if code.startswith(OF_THE_IMAGE):
        layout.operator(EspalierAddImages.bl_idname, text="Choose Another Image...", icon="FILEBROWSER").replace = True
    if not code.startswith(OF_THE_IMAGE) or code in MAY_COME_BACK:
        text, low_memory, new_seed = "Try Again", code == "out_of_memory", code in OF_THE_SEED
        if low_memory:
            text = "Try Again with Less Memory"
        elif new_seed:
            text = "Try Another Seed"
        retry = layout.operator(operators.EspalierRetry.bl_idname, text=text, icon="FILE_REFRESH")
        retry.job, retry.alike, retry.low_memory, retry.new_seed = group[0].id, True, low_memory, new_seed
    draw_log(layout, error)


def draw_log(layout: bpy.types.UILayout, error: protocol.Error) -> None:
    """Draw the button that opens the log, if it tells more about an error."""
    of_the_backend = error.job is None or error.code.startswith("backend_")
    if (of_the_backend or error.code in IN_THE_LOG) and pump.log_path().is_file():
        layout.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = str(pump.log_path())


def draw_cutout_failures(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the buttons that help if cut-outs could not be made for a reason that lies in no image."""
    errors = [error for error in cutouts.errors(context.scene) if not error.code.startswith(OF_THE_IMAGE)]
    if not errors:
        return
    column = layout.column(align=True)
    if any(error.code.startswith(OF_THE_INSTALLATION) for error in errors) and installation.is_installed(context):
        column.operator(operators.EspalierPreferencesShow.bl_idname, icon="PREFERENCES")
    column.operator(EspalierRetryCutOuts.bl_idname, icon="FILE_REFRESH")
    if any(error.code in OF_THE_DISK for error in errors):  # they lie in Blender's temporary folder
        column.operator(operators.EspalierTemporaryFolder.bl_idname, icon="PREFERENCES")
    draw_log(column, errors[0])
