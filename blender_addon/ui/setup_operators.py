"""Operators for the installation and the models. They are thin: the objects in ``installation`` do the work."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import choices, installation, pump
from ..request import cutouts
from ..translations import OURS, gigabytes, translate


class EspalierInstallBackend(bpy.types.Operator):
    """Install the backend, the program that does the computing, in the background"""

    bl_idname = "espalier.install_backend"
    bl_label = "Install"
    bl_translation_context = OURS

    repair: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        obstacle = installation.install_obstacle(context)
        if not obstacle and pump.jobs.active:
            obstacle = translate("Wait until all jobs have finished")
        cls.poll_message_set(obstacle)
        return not obstacle

    def execute(self, context: bpy.types.Context) -> set[str]:
        here = installation.installer()
        assert here is not None
        pump.jobs.release()
        cutouts.forget_failures()
        here.start(installation.options(context), self.repair)
        installation.watch()
        return {"FINISHED"}


class EspalierCancelInstallation(bpy.types.Operator):
    """Stop the installation. Downloaded data is kept, so that it can be resumed later"""

    bl_idname = "espalier.cancel_installation"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        here = installation.installer()
        if here is None:
            return {"CANCELLED"}
        here.cancel()
        return {"FINISHED"}


class EspalierRemoveBackend(bpy.types.Operator):
    """Remove the backend's environment and its downloads. Models are kept"""

    bl_idname = "espalier.remove_backend"
    bl_label = "Remove"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        here = installation.installer()
        if here is None or here.working or pump.jobs.active:
            busy = translate("The backend is being installed or removed")
            cls.poll_message_set(translate("Wait until all jobs have finished") if pump.jobs.active else busy)
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        here = installation.installer()
        assert here is not None
        pump.jobs.release()
        here.remove()
        installation.watch()
        return {"FINISHED"}


class EspalierUnload(bpy.types.Operator):
    """Stop the backend to free all of its memory. The next job starts it again"""

    bl_idname = "espalier.unload"
    bl_label = "Free Memory"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        busy = pump.jobs.active or pump.jobs.cutouts.pending
        if pump.jobs.backend is None or busy:
            wait = translate("Wait until all jobs have finished")
            cls.poll_message_set(wait if busy else translate("The backend is not running"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        pump.unload()
        return {"FINISHED"}


class _ModelOperator(bpy.types.Operator):
    name: StringProperty(options={"HIDDEN", "SKIP_SAVE"})
    command = ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if installation.models.working:
            cls.poll_message_set(translate("Wait until the current model operation has finished"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        here = installation.backend(context)
        if here is None or self.name not in installation.models.known:
            return {"CANCELLED"}
        installation.models.carry_out(self.command, self.name, here)
        installation.watch()
        return {"FINISHED"}


class EspalierDownloadModel(_ModelOperator):
    """Download this model and the models it needs. Size and license are shown first"""

    bl_idname = "espalier.download_model"
    bl_label = "Download"
    bl_translation_context = OURS
    command = "download"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = installation.offline_reason(context)
        if reason:
            cls.poll_message_set(reason)
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.name not in installation.models.known:
            return {"CANCELLED"}
        accept = translate("Accept and Download")
        return context.window_manager.invoke_props_dialog(self, width=480, confirm_text=accept)

    def draw(self, context: bpy.types.Context) -> None:
        missing = installation.models.missing(self.name)
        column = self.layout.column()
        for model in missing:
            column.label(text=f"{model.title}, {gigabytes(model.size)}", icon="IMPORT", translate=False)
            license = translate("License: {license}").format(license=model.licence)
            column.label(text=license, icon="BLANK1", translate=False)
            column.label(text=model.source, icon="BLANK1", translate=False)
        needed, free = sum(model.size - model.present for model in missing), installation.models.free
        text = translate("{needed} to download, {free} free in {folder}").format(
            needed=gigabytes(needed), free=gigabytes(free), folder=installation.models.folder
        )
        column.label(text=text, icon="ERROR" if needed > free else "DISK_DRIVE", translate=False)


class EspalierVerifyModel(_ModelOperator):
    """Check this model's files for damage"""

    bl_idname = "espalier.verify_model"
    bl_label = "Verify"
    command = "verify"


class EspalierDeleteModel(_ModelOperator):
    """Delete this model's files"""

    bl_idname = "espalier.delete_model"
    bl_label = "Delete"
    command = "delete"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)


class EspalierCancelModel(bpy.types.Operator):
    """Stop this operation. Downloaded data is kept, so that a download can be resumed later"""

    bl_idname = "espalier.cancel_model"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        installation.models.cancel()
        return {"FINISHED"}


class EspalierHideDemonstration(bpy.types.Operator):
    """Hide this notice. The preferences can show it again"""

    bl_idname = "espalier.hide_demonstration"
    bl_label = "Hide Notice"

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not choices.hide_demonstration(context):
            return {"CANCELLED"}
        pump.redraw("UI")
        return {"FINISHED"}


_classes = (
    EspalierInstallBackend,
    EspalierCancelInstallation,
    EspalierRemoveBackend,
    EspalierUnload,
    EspalierDownloadModel,
    EspalierVerifyModel,
    EspalierDeleteModel,
    EspalierCancelModel,
    EspalierHideDemonstration,
)
register, _unregister = bpy.utils.register_classes_factory(_classes)


def unregister() -> None:
    """Unregister the operators, and stop what works in the background."""
    installation.unregister()
    _unregister()
