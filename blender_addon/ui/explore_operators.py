"""Operators of candidates and of the live preview. They are thin: plain functions do the work."""

# mypy: disable-error-code="valid-type"

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty

from .. import pump
from ..jobs.queue import State
from ..request import explore, generate, live, opened
from ..scene import candidates
from ..scene.made import is_made
from ..translations import OURS, in_words, translate

#: The keys of the first ten candidates while the mouse is over the viewport, as on the keyboard.
KEYS = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "ZERO")

_keymaps: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


class EspalierExplore(bpy.types.Operator):
    """Make candidates with different seeds, without finishing them, and choose among them"""

    bl_idname = "espalier.explore"
    bl_label = "Explore"
    bl_translation_context = OURS
    bl_options = {"REGISTER"}

    how: EnumProperty(
        items=[
            ("NEW", "New", "Make candidates in place of those that are there"),
            ("MORE", "More", "Make further candidates beside those that are there"),
            ("AGAIN", "All Again", "Make candidates with other seeds in place of those that are there"),
        ],
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: EspalierExplore) -> str:
        if properties.how == "NEW":
            return translate(cls.__doc__ or "")
        return translate(cls.bl_rna.properties["how"].enum_items[properties.how].description)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        obstacle = generate.obstacle(context)
        cls.poll_message_set(obstacle)
        return not obstacle or bool(candidates.listed())

    def execute(self, context: bpy.types.Context) -> set[str]:
        obstacle = generate.obstacle(context) if self.how == "NEW" else ""
        if obstacle:
            self.report({"ERROR"}, obstacle)
            return {"CANCELLED"}
        opened.ask()  # who has something made of a file's images wants to see their cut-outs
        make = {"NEW": explore.start, "MORE": explore.more, "AGAIN": explore.all_again}[self.how]
        return _do(self, partial(make, context))


class EspalierExploreObject(bpy.types.Operator):
    """Make candidates with the images and settings of the active object and other seeds, beside it"""

    bl_idname = "espalier.explore_object"
    bl_label = "Explore"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set(translate("Select an object made with Espalier"))
        return context.active_object is not None and is_made(context.active_object)

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _do(self, partial(explore.start_from, context, context.active_object))


class EspalierTakeCandidate(bpy.types.Operator):
    """Finish this candidate, and put the others away. Shift-click to keep choosing"""

    bl_idname = "espalier.take_candidate"
    bl_label = "Take Candidate"
    bl_options = {"REGISTER"}

    number: IntProperty(options={"HIDDEN", "SKIP_SAVE"})
    keep_choosing: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: EspalierTakeCandidate) -> str:
        words, candidate = [translate(cls.__doc__ or "")], candidates.find(properties.number)
        if candidate is not None and candidate.answer is not None:
            if candidate.is_made and candidate.job.request.texture_source in ("picture", "automatic"):
                words.append(translate("The picture shows its shape and rough colors. Finishing paints the image on"))
            words += [f"{translate('Seed')}: {candidate.seed}", translate(candidate.answer.note)]
        return "\n".join(filter(None, words))

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(candidates.shown())

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        candidate = candidates.find(self.number)
        if candidate is None or not candidate.is_made:
            return {"PASS_THROUGH"}  # the key does what it does otherwise
        self.keep_choosing = event.shift
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        candidate = candidates.find(self.number)
        if candidate is None or not candidate.is_made:
            return {"CANCELLED"}
        if not self.keep_choosing:
            explore.put_away(candidate)
        return _do(self, partial(explore.take, context, candidate))


class EspalierTakeAllCandidates(bpy.types.Operator):
    """Finish all candidates that have not been taken yet"""

    bl_idname = "espalier.take_all_candidates"
    bl_label = "Take All"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(_takeable())

    def execute(self, context: bpy.types.Context) -> set[str]:
        for candidate in _takeable():
            if _do(self, partial(explore.take, context, candidate)) != {"FINISHED"}:
                return {"CANCELLED"}
        explore.put_away()
        return {"FINISHED"}


class EspalierPutAwayCandidates(bpy.types.Operator):
    """Take none of the candidates that are left. They can be brought back"""

    bl_idname = "espalier.put_away_candidates"
    bl_label = "Put Away"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(candidates.shown())

    def execute(self, context: bpy.types.Context) -> set[str]:
        explore.put_away()
        return {"FINISHED"}


class EspalierBringBackCandidates(bpy.types.Operator):
    """Show the last candidates again, to take others of them"""

    bl_idname = "espalier.bring_back_candidates"
    bl_label = "Bring Back Candidates"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(candidates.listed()) and not candidates.shown()

    def execute(self, context: bpy.types.Context) -> set[str]:
        explore.bring_back()
        return {"FINISHED"}


class EspalierCancelExplore(bpy.types.Operator):
    """Make no more candidates. Those that are there stay"""

    bl_idname = "espalier.cancel_explore"
    bl_label = "Cancel Explore"
    bl_options = {"REGISTER"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        for job in candidates.jobs():
            if job.state in (State.QUEUED, State.RUNNING):
                pump.cancel(job)
        return {"FINISHED"}


class EspalierLive(bpy.types.Operator):
    """Show a preview that follows the seed, the images and the other settings as they change"""

    bl_idname = "espalier.live"
    bl_label = "Live"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        obstacle = "" if live.is_on() else generate.obstacle(context)
        cls.poll_message_set(obstacle)
        return not obstacle

    def execute(self, context: bpy.types.Context) -> set[str]:
        if live.is_on():
            live.stop()
            return {"FINISHED"}
        opened.ask()
        return _do(self, partial(live.start, context))


class EspalierKeepLive(bpy.types.Operator):
    """Finish the object of the live preview"""

    bl_idname = "espalier.keep_live"
    bl_label = "Keep"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return live.can_keep()

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _do(self, partial(live.keep, context))


def _takeable() -> list[candidates.Candidate]:
    return [candidate for candidate in candidates.shown() if candidate.is_made and not candidate.taken]


def _do(operator: bpy.types.Operator, work: Callable[[], object]) -> set[str]:
    """Do it, or report why it cannot be done."""
    try:
        work()
    except ValueError as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    except OSError as error:
        operator.report({"ERROR"}, in_words(error, bpy.app.tempdir, pump.FOR_THE_TEMPORARY_FOLDER))
        return {"CANCELLED"}
    return {"FINISHED"}


def _add_keys() -> None:
    """Number keys take candidates while the mouse is over the viewport in Object Mode, if there are any to take."""
    keys = bpy.context.window_manager.keyconfigs.addon
    if keys is None:
        return  # in background mode
    keymap = keys.keymaps.new(name="Object Mode", space_type="EMPTY")
    for number, key in enumerate(KEYS, start=1):
        for shift in (False, True):
            item = keymap.keymap_items.new(EspalierTakeCandidate.bl_idname, key, "PRESS", shift=shift)
            item.properties.number = number
            _keymaps.append((keymap, item))


_classes = (
    EspalierExplore,
    EspalierExploreObject,
    EspalierTakeCandidate,
    EspalierTakeAllCandidates,
    EspalierPutAwayCandidates,
    EspalierBringBackCandidates,
    EspalierCancelExplore,
    EspalierLive,
    EspalierKeepLive,
)
_register, _unregister = bpy.utils.register_classes_factory(_classes)


def register() -> None:
    """Register the operators and their keys."""
    _register()
    _add_keys()


def unregister() -> None:
    """Undo ``register``."""
    for keymap, item in _keymaps:
        keymap.keymap_items.remove(item)
    _keymaps.clear()
    _unregister()
