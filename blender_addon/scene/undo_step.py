"""The undo steps of what jobs change: operators that do nothing, each called after a change that a job has made.

``ed.undo_push`` alone would leave the user's last operator as the one that Blender's panel *Adjust Last Operation*
repeats. To repeat it, Blender undoes all that came since, with objects that have arrived meanwhile. After an operator
there is nothing to adjust.
"""

from __future__ import annotations

import bpy


class _Step(bpy.types.Operator):
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return {"FINISHED"}


class EspalierGenerated(_Step):
    """An object was generated"""

    bl_idname = "espalier.generated"
    bl_label = "Generate 3D"


class EspalierRegenerated(_Step):
    """An object was made again in its place"""

    bl_idname = "espalier.regenerated"
    bl_label = "Regenerate"


class EspalierRetextured(_Step):
    """An object got a new texture"""

    bl_idname = "espalier.retextured"
    bl_label = "Retexture"


class EspalierGuideWired(_Step):
    """A guide is shown as wire"""

    bl_idname = "espalier.guide_wired"
    bl_label = "Show Guide as Wire"


def push(what: str) -> None:
    """Make what was changed an undo step: *generated*, *regenerated*, *retextured* or *guide_wired*."""
    step = getattr(bpy.ops.espalier, what)
    if bpy.app.background:  # nobody adjusts anything there, and Blender crashes looking for the panel
        bpy.ops.ed.undo_push(message=step.get_rna_type().name)
    else:
        step("EXEC_DEFAULT", True)  # True: with an undo step


_classes = (EspalierGenerated, EspalierRegenerated, EspalierRetextured, EspalierGuideWired)
register, unregister = bpy.utils.register_classes_factory(_classes)
