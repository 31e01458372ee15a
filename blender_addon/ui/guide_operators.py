"""Guides and boxes: the rows that choose them, and their buttons. Drawing changes nothing."""

from __future__ import annotations

import bpy

from .. import pump
from ..request import box, properties
from ..request.properties import EspalierSettings
from ..translations import translate
from . import operators
from .fields import Fields


class EspalierForgetGuide(bpy.types.Operator):
    """Generate without the guide of the object whose settings were restored"""

    bl_idname = "espalier.forget_guide"
    bl_label = "Forget Guide"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.espalier.guide_voxels = ""
        return {"FINISHED"}


class EspalierAgainInBox(bpy.types.Operator):
    """Generate the part of the object anew that the other selected object, a cube or an empty, encloses"""

    bl_idname = "espalier.again_in_box"
    bl_label = "Again Inside Box"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set(
            translate("Select an object made with Espalier, and a cube or an empty around a part of it")
        )
        pair = box.pair(context)
        if pair is not None and (obstacle := box.obstacle(pair[0])):
            cls.poll_message_set(obstacle)
            return False
        return pair is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        pair = box.pair(context)
        if pair is None:
            return {"CANCELLED"}
        try:
            job = box.new_job(context, *pair, seed=operators.random_seed())
        except (ValueError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        pump.submit(job)
        return {"FINISHED"}


def draw_guide(fields: Fields, settings: EspalierSettings) -> None:
    """Draw which guide new objects have, and how closely they follow it."""
    if settings.guide is None and settings.guide_voxels:
        row = fields.column.row(align=True)
        row.label(text="Guide of the restored object", icon="MESH_CUBE")
        row.operator(EspalierForgetGuide.bl_idname, text="", icon="X")
    else:
        fields.draw(settings, "guide")
    if settings.guide is not None or settings.guide_voxels:
        model = properties.chosen_model(settings)
        is_free = model is None or model.guides
        fields.draw(settings, "shape_strength", active=is_free)
        if not is_free:
            fields.note(translate("This model takes the guide as it is: with a strength of 1, unless it is 0"))


_classes = (EspalierForgetGuide, EspalierAgainInBox)
register, unregister = bpy.utils.register_classes_factory(_classes)
