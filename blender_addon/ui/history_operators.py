"""Operators on the entries of the history: insert again, restore settings, favorite, rename, remove and put back."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zipfile import BadZipFile

import bpy
from bpy.props import StringProperty

from ...backend import protocol
from .. import choices, pump
from ..request import again, placement
from ..scene import history, shading
from ..scene.made import ENTRY
from ..scene.mesh_import import create_object
from ..translations import in_words, translate


def restore(operator: bpy.types.Operator, context: bpy.types.Context, settings: Mapping[str, Any]) -> set[str]:
    """Load the images and settings of something made into the panel, and say what could not be restored."""
    lost = again.restore(settings, context.scene.espalier)
    if lost:
        operator.report({"WARNING"}, translate("Could not restore: {what}").format(what=", ".join(lost)))
    pump.redraw("UI")
    return {"FINISHED"}


class _EntryOperator(bpy.types.Operator):
    entry: StringProperty(options={"HIDDEN", "SKIP_SAVE"})


class EspalierInsertAgain(_EntryOperator):
    """Insert this result beside what is there. It is generated again if its files are gone"""

    bl_idname = "espalier.insert_again"
    bl_label = "Insert Again"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        (location,) = placement.free_row(context, entry.size)
        if entry.result is None:
            return self._generate(context, entry, location)
        try:
            made = create_object(
                entry.result, name=entry.name, collection=context.collection, settings=entry.settings, size=entry.size
            )
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except (OSError, BadZipFile) as error:  # the temporary folder was cleared, or its disk was full
            why = error if isinstance(error, OSError) else OSError(None, str(error))
            self.report({"WARNING"}, in_words(why, history.folder(), "It is generated again."))
            history.forget_files(entry)
            return self._generate(context, entry, location)
        made[ENTRY] = entry.id
        made.location = location
        pump.select(made, context.scene)
        if choices.show_colors(context):
            shading.show(made, shading.viewport_of(context))
        return {"FINISHED"}

    def _generate(self, context: bpy.types.Context, entry: history.Entry, location: placement.Location) -> set[str]:
        """Make an entry's object again."""
        seed = entry.settings.get("seed", protocol.default("seed"))
        try:
            job = again.new_job(context, entry.settings, seed=seed, location=location, size=entry.size)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        job.title = entry.name
        pump.submit(job)
        return {"FINISHED"}


class EspalierRestoreEntry(_EntryOperator):
    """Load the images and settings of this result into the panel"""

    bl_idname = "espalier.restore_entry"
    bl_label = "Restore Settings"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        return restore(self, context, {**entry.settings, "size": entry.size})


class EspalierFavorite(_EntryOperator):
    """Keep this result at the top of the history, also when older ones are dropped. Press again to undo this"""

    bl_idname = "espalier.favorite"
    bl_label = "Favorite"

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        if not history.set_favorite(entry, not entry.favorite):
            words = translate("There can be {n} favorites. Unmark another one first")
            self.report({"ERROR"}, words.format(n=history.MAX_FAVORITES))
            return {"CANCELLED"}
        pump.redraw("UI")
        return {"FINISHED"}


class EspalierRename(_EntryOperator):
    """Give this result another name. Objects that are inserted from it get this name"""

    bl_idname = "espalier.rename"
    bl_label = "Rename"

    name: StringProperty(name="Name", description="Name of the result in the history", maxlen=63)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        self.name = entry.name
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.activate_init = True  # else what is typed at once would be the dialog's and the viewport's keys
        self.layout.prop(self, "name")

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        try:
            history.rename(entry, self.name)
        except ValueError:
            self.report({"ERROR"}, translate("Type a name"))
            return {"CANCELLED"}
        pump.redraw("UI")
        return {"FINISHED"}


class EspalierForget(_EntryOperator):
    """Remove this result from the history. Objects in the scene are kept, and the result can be put back"""

    bl_idname = "espalier.forget"
    bl_label = "Remove from History"

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = history.find(self.entry)
        if entry is None:
            return {"CANCELLED"}
        history.remove(entry)
        pump.redraw("UI")
        return {"FINISHED"}


class EspalierPutBack(bpy.types.Operator):
    """Put the result that was removed last back into the history"""

    bl_idname = "espalier.put_back"
    bl_label = "Put Back"

    def execute(self, context: bpy.types.Context) -> set[str]:
        if history.put_back() is None:
            return {"CANCELLED"}
        pump.redraw("UI")
        return {"FINISHED"}


_classes = (
    EspalierInsertAgain,
    EspalierRestoreEntry,
    EspalierFavorite,
    EspalierRename,
    EspalierForget,
    EspalierPutBack,
)
register, unregister = bpy.utils.register_classes_factory(_classes)
