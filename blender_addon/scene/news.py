"""Says what has become of a job where an artist sees it, whatever is open: in the status bar, and in the Info log.

Reports are Blender's own way to do so, and they hide nothing of it. But a report of an operator that Python calls
reaches only Python. So the operator stays until Blender's next event, as modal ones do, and reports then.
"""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from collections.abc import Iterable

import bpy
from bpy.props import EnumProperty, StringProperty

from ...backend import protocol
from ..translations import translate

#: Letters of a report: the status bar has room for fewer, the Info log for all.
MOST_LETTERS = 400


class EspalierTell(bpy.types.Operator):
    """Say what has become of a job"""

    bl_idname = "espalier.tell"
    bl_label = "Espalier"
    bl_options = {"INTERNAL"}

    kind: EnumProperty(items=[("INFO", "Info", ""), ("WARNING", "Warning", "")], options={"HIDDEN", "SKIP_SAVE"})
    text: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Wait for the next event."""
        manager = context.window_manager
        self.timer = manager.event_timer_add(0.01, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Report, and leave the event to others."""
        context.window_manager.event_timer_remove(self.timer)
        self.report({self.kind}, self.text)
        return {"FINISHED", "PASS_THROUGH"}


def tell(text: str, *, warning: bool = False) -> None:
    """Report something, as a warning if it went wrong: an error's pop-up would swallow what is typed meanwhile.

    Without a window it is printed.
    """
    windows = bpy.context.window_manager.windows
    if bpy.app.background or not windows:
        print(f"Espalier: {text}")
        return
    with bpy.context.temp_override(window=windows[0]):
        kind = "WARNING" if warning else "INFO"
        bpy.ops.espalier.tell("INVOKE_DEFAULT", kind=kind, text=text[:MOST_LETTERS])


def ready(name: str, note: str = "", wire: str = "") -> None:
    """Say that an object is in the scene, what its note says, and the name of a guide that is shown as ``wire`` now."""
    said = (translate("{name} is ready.").format(name=name), wire and _wired(wire), note)
    tell(" ".join(filter(None, said)))


def wired(guide: str) -> None:
    """Say that a guide is shown as wire now."""
    tell(_wired(guide))


def _wired(guide: str) -> str:
    return translate("{name} is shown as wire, to see inside.").format(name=guide)


def offered(name: str) -> None:
    """Say that an object is finished, but that its place is not in the open file."""
    tell(translate("{name} is ready. Insert it from the Espalier tab of the sidebar.").format(name=name))


def failed(failures: Iterable[tuple[str, protocol.Error]]) -> None:
    """Say which objects failed and why, once for each reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, error in failures:
        names.setdefault((error.message, error.hint), []).append(name)
    for (message, hint), which in names.items():
        words = translate("{name} failed: {reason}").format(name=", ".join(dict.fromkeys(which)), reason=message)
        tell(" ".join(f"{words} {hint}".split()), warning=True)


def is_telling(operator: bpy.types.Operator) -> bool:
    """Whether a modal operator only waits to report something."""
    return bool(operator.bl_idname == "ESPALIER_OT_tell")


_classes = (EspalierTell,)
register, unregister = bpy.utils.register_classes_factory(_classes)
