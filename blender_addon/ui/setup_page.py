"""Draws the installation and the models, in the preferences and in the panel. Drawing changes nothing."""

from __future__ import annotations

import bpy

from ...backend.protocol import ModelInfo
from .. import choices, installation, pump
from ..jobs.progress import duration
from ..server.computer import GB, Computer
from ..server.install import Installer, State, Status
from ..server.steps import Plan
from ..translations import gigabytes, number, translate
from .operators import EspalierPreferencesShow
from .setup_operators import (
    EspalierCancelInstallation,
    EspalierCancelModel,
    EspalierDeleteModel,
    EspalierDownloadModel,
    EspalierHideDemonstration,
    EspalierInstallBackend,
    EspalierRemoveBackend,
    EspalierUnload,
    EspalierVerifyModel,
)
from .texts import draw_text

CROSS = 4  # characters that a small button takes from a line
PAGE_WIDTH = 90  # characters; at least so many fit into a line of the preferences

ICONS = {State.READY: "CHECKMARK", State.FAILED: "ERROR", State.OUTDATED: "FILE_REFRESH"}

MODEL_STATES = {
    "bundled": "bundled",
    "own": "your own",
    "installed": "downloaded",
    "damaged": "damaged: download it again",
}


def draw(layout: bpy.types.UILayout, preferences: bpy.types.AddonPreferences, context: bpy.types.Context) -> None:
    """Draw the preferences page."""
    installation.prepare(context)
    if installation.is_installed(context):
        draw_models_page(layout.box(), preferences, context)
        draw_online_access(layout, context)
        draw_backend_page(layout.box(), preferences, context)
    else:  # nothing is known of models yet
        draw_online_access(layout, context)
        draw_backend_page(layout.box(), preferences, context)
        draw_models_page(layout.box(), preferences, context)


def draw_models_page(
    box: bpy.types.UILayout, preferences: bpy.types.AddonPreferences, context: bpy.types.Context
) -> None:
    """Draw the models, and where they lie."""
    box.label(text="Models", icon="MESH_MONKEY")
    draw_models(box)
    column = box.column()
    column.use_property_split = True
    column.prop(preferences, "models_folder", placeholder=installation.models_folder(context))
    column.prop(preferences, "show_demonstration")


def draw_backend_page(
    box: bpy.types.UILayout, preferences: bpy.types.AddonPreferences, context: bpy.types.Context
) -> None:
    """Draw the state of the backend, when it frees its memory, and the installer's settings if they are unfolded."""
    box.label(text="Backend", icon="SETTINGS")
    here = installation.installer()
    if here is None:
        draw_text(box, "This is a checkout. Its own environment runs the backend.", PAGE_WIDTH)
    else:
        draw_backend(box, here)
    column = box.column()
    column.use_property_split = True
    column.prop(preferences, "show_colors")
    memory = column.row(align=True)
    memory.prop(preferences, "idle_minutes")
    memory.operator(EspalierUnload.bl_idname, text="Now", icon="MEMORY")
    fold = box.row()
    fold.alignment = "LEFT"
    arrow = "DOWNARROW_HLT" if preferences.show_installer else "RIGHTARROW"
    fold.prop(preferences, "show_installer", icon=arrow, emboss=False)
    if preferences.show_installer:
        column = box.column()
        column.use_property_split = True
        for name in ("base_python", "package_index", "wheels_folder", "torch_build", "backend_python"):
            column.prop(preferences, name)


def draw_online_access(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw what to do if Blender may not use the network."""
    reason = installation.offline_reason(context)
    if reason:
        box = layout.box()
        box.label(text="Installing and downloading need online access, which is turned off in Blender", icon="INTERNET")
        box.label(text=reason, icon="BLANK1")
        draw_allow_online(box, context)


def draw_allow_online(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw Blender's own checkbox, if it would help."""
    if not bpy.app.online_access and not bpy.app.online_access_override:
        layout.prop(context.preferences.system, "use_online_access")


def draw_backend(layout: bpy.types.UILayout, here: Installer) -> None:
    """Draw the state of the installation, and its buttons."""
    status = here.status()
    if status.state is State.INSTALLING:
        draw_progress(layout, status.text, status.fraction, EspalierCancelInstallation.bl_idname)
        return
    row = layout.row()
    row.alert = status.state is State.FAILED
    row.label(text=state_text(status), icon=ICONS.get(status.state, "INFO"), translate=False)
    if status.hint:
        draw_text(layout, status.hint, PAGE_WIDTH, active=False)
    draw_computer(layout, here, PAGE_WIDTH)
    if status.remedy and here.plan is not None:
        draw_text(layout, plan_text(here.plan), PAGE_WIDTH, active=False)
        if here.plan.network:
            words = translate("Network: {way}.").format(way=here.plan.network)
            draw_text(layout, words, PAGE_WIDTH, active=False)
    if status.state is State.READY:
        draw_measured(layout)
    row = layout.row()
    if status.remedy:
        install = row.operator(EspalierInstallBackend.bl_idname, text=status.remedy, icon="IMPORT")
        install.repair = status.remedy == "Repair"
    elif status.state is State.READY:
        row.operator(EspalierInstallBackend.bl_idname, text="Repair", icon="TOOL_SETTINGS").repair = True
    if status.remedy != "Install":  # there is something to remove
        row.operator(EspalierRemoveBackend.bl_idname, icon="TRASH")
    if status.state is State.FAILED:
        draw_open_log(row, here)


def draw_open_log(layout: bpy.types.UILayout, here: Installer) -> None:
    """Draw the button that opens the log of the installation, if there is one."""
    if here.folders.log.exists():
        layout.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = str(here.folders.log)


def draw_computer(layout: bpy.types.UILayout, here: Installer, width: int) -> None:
    """Draw what this computer is, and which model fits it."""
    if here.computer is not None:
        words = f"{computer_text(here.computer)} {translate(here.computer.fit)}".strip()
        draw_text(layout, words, width, active=False)


def computer_text(computer: Computer) -> str:
    """What the networks run on, as a sentence: *This computer: NVIDIA GeForce RTX 4070, 12 GB.*"""
    if computer.gpu and computer.gpu_memory:
        what = f"{computer.gpu}, {computer.gpu_memory / GB:.0f} GB"
    elif computer.gpu:
        what = computer.gpu
    elif computer.memory:
        what = translate("processor with {n} cores, {memory} GB of memory, no graphics card that can be used")
        what = what.format(n=computer.cores, memory=f"{computer.memory / GB:.0f}")
    else:
        what = translate("processor with {n} cores").format(n=computer.cores)
    return translate("This computer: {what}.").format(what=what)


def draw_measured(layout: bpy.types.UILayout) -> None:
    """Draw how long an object took on this machine, with each model and number of steps that was used."""
    timings = pump.jobs.timings
    for (model, steps, resolution), seconds in timings.measured().items():
        how = translate("{model}, default steps") if steps is None else translate("{model}, {n} steps")
        model = model if resolution is None else f"{model} {resolution}"
        words = translate("{time} for an object ({how}), measured here").format(
            time=number(duration(seconds)), how=how.format(model=model, n=steps)
        )
        layout.label(text=words, icon="TIME", translate=False)
    if not timings.measured():
        layout.label(text="The first object measures how long one takes on this machine", icon="TIME")


def state_text(status: Status) -> str:
    """The state as text: *Ready (NVIDIA GeForce RTX 4070, 12 GB)*."""
    text = translate(status.text)
    match status.state:
        case State.READY:
            return translate("Ready ({device})").format(device=text)
        case State.FAILED:
            return translate("Failed: {why}").format(why=text)
    return text


def plan_text(plan: Plan) -> str:
    """What an installation will take, as text."""
    words = translate("Nothing to download. Needs {disk} of disk space ({free} free) and about {minutes} min.")
    if plan.download:
        words = translate(
            "{download} to download. Needs {disk} of disk space ({free} free) and about {minutes} min at 5 MB/s."
        )
    words = words.format(
        download=gigabytes(plan.download),
        disk=gigabytes(plan.disk),
        free=gigabytes(plan.free),
        minutes=max(1, round(plan.seconds / 60)),
    )
    return f"{words} {translate(plan.choice.remark)}".strip()


def draw_progress(layout: bpy.types.UILayout, text: str, fraction: float, cancel: str) -> None:
    """Draw a progress bar, and a button that calls the operator ``cancel``."""
    row = layout.row()
    row.progress(factor=fraction, text=f"{translate(text)} ({fraction:.0%})", translate=False)
    row.operator(cancel, text="", icon="X")


def draw_models(layout: bpy.types.UILayout) -> None:
    """Draw the list of models with their buttons, and the operation that is running."""
    store = installation.models
    if store.busy_with:
        draw_progress(layout, store.text, store.fraction, EspalierCancelModel.bl_idname)
    elif store.problem is not None:
        draw_problem(layout, PAGE_WIDTH)
    if not store.known:
        layout.label(text="Install the backend to see the models", icon="INFO")
        return
    for model in store.known.values():
        draw_model(layout, model)
    free = translate("{free} free in {folder}").format(free=gigabytes(store.free), folder=store.folder)
    layout.label(text=free, icon="DISK_DRIVE", translate=False)


def draw_model(layout: bpy.types.UILayout, model: ModelInfo) -> None:
    """Draw one model: its title, size and state, and its buttons."""
    split = layout.split(factor=0.66)
    state = gigabytes(model.size)
    if model.state == "partial":
        state = translate("{present} of {size} downloaded").format(present=gigabytes(model.present), size=state)
    elif model.state != "not installed":  # the button Download says that
        state += f", {translate(MODEL_STATES.get(model.state, model.state))}"
    split.label(text=f"{model.title}: {state}", translate=False)
    row = split.row(align=True)
    if not model.published:
        return
    if model.state == "installed":
        row.operator(EspalierVerifyModel.bl_idname, icon="CHECKMARK").name = model.name
    else:
        text = "Resume" if model.state == "partial" else "Download"
        row.operator(EspalierDownloadModel.bl_idname, text=text, icon="IMPORT").name = model.name
    if model.present:
        row.operator(EspalierDeleteModel.bl_idname, text="", icon="TRASH").name = model.name
    row.operator("wm.url_open", text="", icon="URL").url = model.source


def draw_problem(layout: bpy.types.UILayout, width: int) -> None:
    """Draw why the last operation with a model failed, and what to do."""
    assert installation.models.problem is not None
    message, hint = installation.models.problem
    row = layout.row()
    row.alert = True
    draw_text(row, message, width)
    draw_text(layout, hint, width, active=False)


def draw_first_run(layout: bpy.types.UILayout, context: bpy.types.Context, width: int) -> None:
    """Draw the panel before the backend is installed: what to do next, and one button."""
    installation.prepare(context)
    here = installation.installer()
    box = layout.box()
    if here is None:
        draw_text(
            box, "This checkout has no environment for the backend. Run scripts/dev.py setup to create it.", width
        )
        return
    status = here.status()
    if status.state is State.INSTALLING:
        draw_text(box, "Installing the backend. You can keep working.", width)
        draw_progress(box, status.text, status.fraction, EspalierCancelInstallation.bl_idname)
        return
    if status.state in (State.FAILED, State.ELSEWHERE, State.OUTDATED):
        draw_text(box, state_text(status), width)
        draw_text(box, status.hint, width, active=False)
    else:
        draw_text(box, "One step left: install the backend, a separate program that does the computing.", width)
    if not status.remedy:
        return
    draw_computer(box, here, width)
    if here.plan is not None:
        draw_text(box, plan_text(here.plan), width, active=False)
    reason = installation.install_obstacle(context)
    if reason:
        draw_text(box, reason, width)
        draw_allow_online(box, context)
    button = box.row()
    button.scale_y = 1.6
    text = "Install the Backend" if status.remedy == "Install" else status.remedy
    install = button.operator(EspalierInstallBackend.bl_idname, text=text, icon="IMPORT")
    install.repair = status.remedy == "Repair"
    if status.state is State.FAILED:
        others = box.row()
        others.operator(EspalierPreferencesShow.bl_idname, icon="PREFERENCES")
        draw_open_log(others, here)


def draw_demonstration(layout: bpy.types.UILayout, context: bpy.types.Context, width: int) -> None:
    """Draw the panel's note on the bundled model, and the button that downloads TRELLIS.

    If the user has hidden it, only a download that runs or has failed is drawn.
    """
    installation.prepare(context)
    store = installation.models
    if store.busy_with:
        draw_progress(layout.box(), store.text, store.fraction, EspalierCancelModel.bl_idname)
        return
    if store.problem is not None:
        draw_problem(layout.box(), width)
    if not choices.shows_demonstration(context):
        return
    box = layout.box()
    row = box.row()
    words = translate("{name} is a demonstration model. It knows a dozen kinds of objects, such as chairs and houses.")
    draw_text(row, words.format(name=installation.DEMONSTRATION.capitalize()), width - CROSS)
    if choices.preferences(context) is not None:
        row.operator(EspalierHideDemonstration.bl_idname, text="", icon="X", emboss=False)
    if installation.OFFERED in store.known:
        size = gigabytes(sum(model.size - model.present for model in store.missing(installation.OFFERED)))
        text = translate("Download TRELLIS ({size})...").format(size=size)
        get = box.operator(EspalierDownloadModel.bl_idname, text=text, icon="IMPORT")
        get.name = installation.OFFERED
        reason = installation.offline_reason(context)
        if reason:
            draw_text(box, reason, width, active=False)
            draw_allow_online(box, context)
