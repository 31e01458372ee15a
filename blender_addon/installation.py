"""The backend's installation and its models, for the panels and operators.

Threads that know nothing of Blender do the work (``server.install``, ``server.models``). This module gives them
Blender's folders and preferences, and redraws the areas while they work. Nothing here uses the network unless a button
was pressed.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import bpy

from ..backend import protocol
from . import choices
from .extension import FOLDER, ROOT, is_checkout
from .jobs.client import BackendUnavailable
from .server import process
from .server.environment import Packages
from .server.install import Installer, State
from .server.models import BackendAt, ModelStore
from .server.plan import Options
from .translations import translate

INTERVAL = 0.2  # seconds between two redraws during background work

#: Seconds for which a look at the disk for the backend holds: one draw of the panel asks about thirty times.
FRESH = 0.1

#: The model that the panel offers if there are only the bundled ones.
OFFERED = "trellis-image-large"
DEMONSTRATION = "mini"

models = ModelStore()
_installer: Installer | None = None


def installer() -> Installer | None:
    """The installer of the backend; None in a checkout, which has its own environment."""
    global _installer
    packages = None if _installer is not None or is_checkout() else Packages.read(FOLDER)
    if packages is not None:
        folder = bpy.utils.extension_path_user(ROOT, path="")  # made when it is first written to
        _installer = Installer(Path(folder), FOLDER, packages)
    return _installer


def options(context: bpy.types.Context) -> Options:
    """The options of an installation, as set in the preferences, and Blender's own patience with the network."""
    chosen = choices.preferences(context)
    if chosen is None:
        return Options()
    return Options(
        bpy.path.abspath(chosen.base_python),
        chosen.package_index.strip(),
        bpy.path.abspath(chosen.wheels_folder),
        build="" if chosen.torch_build == "AUTOMATIC" else chosen.torch_build,
        timeout=context.preferences.system.network_timeout,
    )


def backend_python(context: bpy.types.Context) -> Path:
    """The Python that runs the backend. Raises BackendUnavailable."""
    here = installer()
    return process.find_python(choices.folders(context)[0], FOLDER, installed=here.python if here else None)


def models_folder(context: bpy.types.Context) -> str:
    """Where models are downloaded to: the folder in the preferences, else the backend's default."""
    return choices.folders(context)[1] or str(protocol.models_folder())


def backend(context: bpy.types.Context) -> BackendAt | None:
    """The backend to ask about models; None if there is none. As it was at most ``FRESH`` seconds ago."""
    told = tuple(map(os.environ.get, (process.PYTHON_VARIABLE, protocol.MODELS_VARIABLE)))
    return _look((int(time.monotonic() / FRESH), FOLDER, installer(), choices.folders(context), told))


@functools.lru_cache(maxsize=1)
def _look(state: tuple[object, ...]) -> BackendAt | None:
    """``backend`` from the disk. ``state``: a moment, and all else that the answer may change with."""
    context = bpy.context
    try:
        return BackendAt(backend_python(context), FOLDER, models_folder(context))
    except BackendUnavailable:
        return None


def is_installed(context: bpy.types.Context) -> bool:
    """Whether there is a backend to start. A wrong path in the preferences counts: starting it says what is wrong."""
    if backend(context) is not None:
        return True
    here = installer()
    return here is None or here.status().state is State.READY or bool(choices.folders(context)[0])


def usable_models(context: bpy.types.Context) -> dict[str, protocol.ModelInfo]:
    """The models that can be used now, by name, as the backend lists them.

    The backend's answer is kept until a models folder changes. In a window this does not wait for it: the list is empty
    until the first answer has arrived.
    """
    here = backend(context)
    if here is not None and not models.working and not models.knows(here):
        _ask_for_models(here)
    return {name: model for name, model in models.known.items() if model.usable}


def _ask_for_models(here: BackendAt) -> None:
    """Ask the backend which models there are. In a window this does not wait for the answer."""
    if not bpy.app.background:
        models.refresh(here)
        watch()
        return
    try:
        models.ask(here)  # nothing is drawn that could freeze, and no timer would fetch the answer
    except BackendUnavailable as error:
        models.problem = (str(error), error.hint)


def only_demonstration(context: bpy.types.Context) -> bool:
    """Whether the backend is installed, and there are no models but the bundled ones."""
    there = usable_models(context).values()
    return is_installed(context) and all(model.state == "bundled" for model in there)


def offline_reason(context: bpy.types.Context) -> str:
    """Why Blender may not use the network and how to change that, in the user's language; empty if it may."""
    if bpy.app.online_access:
        return ""
    if bpy.app.online_access_override:
        return translate("Blender was started in offline mode. Start it without --offline-mode")
    return translate("Turn on Allow Online Access in Preferences > System")


def install_obstacle(context: bpy.types.Context) -> str:
    """Why an installation cannot be started, in the user's language; empty if it can."""
    here = installer()
    if here is None:
        return translate("This is a checkout. Run scripts/dev.py setup to create its environment")
    if here.working or here.status().state is State.ELSEWHERE:
        return translate("The backend is being installed")
    return "" if options(context).wheels else offline_reason(context)


def prepare(context: bpy.types.Context) -> None:
    """Find out in the background what an installation will take, or which models there are. Does so only once."""
    if bpy.app.background:
        return
    here = installer()
    if backend(context) is not None:
        usable_models(context)
    elif here is not None and here.surveyed != (wanted := options(context)):
        here.survey(wanted)
    if going_on():
        watch()


def going_on() -> bool:
    """Whether there is background work, so that what is shown will change."""
    return models.working or (_installer is not None and (_installer.working or _installer.surveying))


def watch() -> None:
    """Redraw the panels regularly during background work."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=INTERVAL, persistent=True)


def redraw() -> None:
    """Redraw the preferences and the sidebars."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("PREFERENCES", "VIEW_3D"):
                area.tag_redraw()


def _tick() -> float | None:
    redraw()
    if not going_on():
        prepare(bpy.context)  # after an installation there is a backend to ask for its models
    return INTERVAL if going_on() else None


def unregister() -> None:
    """Stop all background work."""
    global _installer
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    models.close()
    if _installer is not None:
        _installer.close()
        _installer = None
