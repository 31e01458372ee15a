"""The sidebar panel. Drawing reads state and never changes it."""

from __future__ import annotations

from pathlib import PurePath

import bpy

from . import operators, pump, setup, setup_page, thumbnails
from .jobs import Job, State
from .mesh_import import NOTE
from .properties import EspalierSettings
from .texts import characters, draw_text

STAGES = {
    "load": "Loading the model",
    "prepare": "Preparing the image",
    "encode": "Looking at the image",
    "structure": "Shape",
    "latents": "Detail",
    "decode": "Surface",
    "finish": "Texture",
}


class EspalierPanel(bpy.types.Panel):
    bl_idname = "ESPALIER_PT_generate"
    bl_label = "Espalier"
    bl_category = "Espalier"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.espalier
        if not setup.is_installed(context):
            setup_page.draw_first_run(self.layout, context, characters(context))
            return
        draw_images(self.layout, settings)
        draw_settings(self.layout, settings)
        if settings.model == setup.DEMONSTRATION and setup.only_demonstration(context):
            setup_page.draw_demonstration(self.layout, context, characters(context))
        button = self.layout.row()
        button.scale_y = 1.6
        button.operator(operators.EspalierGenerate.bl_idname, icon="MESH_MONKEY")
        for job in pump.jobs.jobs:
            draw_job(self.layout, job, characters(context))
        active = context.active_object
        if active is not None and NOTE in active:
            draw_text(self.layout.box(), f"{active.name}: {active[NOTE]}", characters(context))


def draw_images(layout: bpy.types.UILayout, settings: EspalierSettings) -> None:
    """A thumbnail for each image with its name and a button that removes it."""
    if settings.images:
        grid = layout.grid_flow(row_major=True, columns=min(len(settings.images), 3), even_columns=True, align=True)
        for index, image in enumerate(settings.images):
            cell = grid.box().column(align=True)
            path = bpy.path.abspath(image.path)
            cell.template_icon(thumbnails.icon(path), scale=6.0 if len(settings.images) == 1 else 4.0)
            row = cell.row(align=True)
            row.label(text=PurePath(path).name)
            row.operator(operators.EspalierRemoveImage.bl_idname, text="", icon="X", emboss=False).index = index
    else:
        hint = layout.box().column()
        hint.active = False
        hint.label(text="Drop an image on the viewport,", icon="IMAGE_DATA")
        hint.label(text="or add one from a file", icon="BLANK1")
    layout.operator(operators.EspalierAddImages.bl_idname, text="Add Images...", icon="ADD")


def draw_settings(layout: bpy.types.UILayout, settings: EspalierSettings) -> None:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "model")
    steps = column.row(heading="Steps")
    steps.prop(settings, "use_steps", text="")
    number = steps.row()
    number.active = settings.use_steps
    number.prop(settings, "steps", text="")
    for name in ("seed", "faces", "texture_size", "texture_source", "normal_map", "keep_raw"):
        column.prop(settings, name)


def draw_job(layout: bpy.types.UILayout, job: Job, width: int) -> None:
    """Where a job stands: a bar while it is active, an offer when its result cannot be inserted, an error in words."""
    box = layout.box()
    head = box.row()
    match job.state:
        case State.QUEUED | State.RUNNING:
            head.label(text=job.name, icon="SORTTIME")
            head.operator(operators.EspalierCancel.bl_idname, text="", icon="X", emboss=False).job = job.id
            box.progress(factor=job.fraction, text=progress_text(job))
        case State.DONE:
            head.label(text=job.name, icon="CHECKMARK")
            head.operator(operators.EspalierDismiss.bl_idname, text="", icon="TRASH", emboss=False).job = job.id
            waits_for = pump.obstacle() if pump.home(job) is not None else ""
            reason = (
                f"Waits until {waits_for} is finished"
                if waits_for
                else "Made in a file or scene that is no longer open"
            )
            draw_text(box, reason, width)
            box.operator(operators.EspalierInsert.bl_idname, icon="IMPORT").job = job.id
        case State.FAILED if job.error is not None:
            head.alert = True
            head.label(text=job.name, icon="ERROR")
            head.operator(operators.EspalierDismiss.bl_idname, text="", icon="X", emboss=False).job = job.id
            draw_text(box, job.error.message, width)
            draw_text(box, job.error.hint, width, active=False)
            if job.error.code == "backend_unavailable":
                box.operator(operators.EspalierPreferencesShow.bl_idname, icon="PREFERENCES")
            elif job.error.job is None:  # it was the backend itself that failed
                box.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = str(pump.log_path())


def progress_text(job: Job) -> str:
    """What the progress bar says."""
    if job.cancelling:
        return "Cancelling"
    if job.state is State.QUEUED:
        return "Waiting" if pump.jobs.running else "Starting the backend"
    stage = STAGES.get(job.stage, job.stage or "Starting")
    return f"{stage}, step {job.step} of {job.steps}" if job.steps > 1 else stage


def register() -> None:
    bpy.utils.register_class(EspalierPanel)


def unregister() -> None:
    bpy.utils.unregister_class(EspalierPanel)
