"""Who may import whom, read from the sources: nothing is imported to find out.

``blender_addon`` runs in Blender's Python and ``backend`` in its own; they share ``SHARED`` and nothing else. On both
sides imports go down the layers, never up, and never in a circle. Imports inside functions, and those for type checkers
alone, count like any other.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("backend", "blender_addon", "scripts")
BLENDER = {
    "_cycles",
    "bl_operators",
    "bl_ui",
    "blf",
    "bmesh",
    "bpy",
    "bpy_extras",
    "gpu",
    "gpu_extras",
    "imbuf",
    "mathutils",
}
#: Files outside the add-on that may import Blender's modules.
WITH_BLENDER = {"scripts.finish_sheet", "scripts.quad_sheet"}
#: The add-on's rooms that must work without Blender.
WITHOUT_BLENDER = ("blender_addon.jobs", "blender_addon.server")
#: What both sides import: standard library only.
SHARED = (
    "backend.protocol",
    "backend.files",
    "backend.batches",
    "backend.disk_errors",
    "backend.names",
    "backend.whole",
    "backend.asset_facts",
    "backend.certificate",
    "backend.command_reports",
    "backend.formats",
    "backend.portrait_facts",
    "backend.print_facts",
    "backend.threemf",
    "backend.places",
    "backend.signals",
    "backend.typed_json",
)
STANDARD_LIBRARY_ONLY = (
    *SHARED,
    "backend.settings",
    "backend.image_facts",
    "backend.errors",
    "scripts.dev",
    "scripts.lock",
)
#: From the top. A module imports from its own layer and from those below. A room stands for all that is in it.
LAYERS = (
    ("backend.__main__",),
    ("backend.goldens", "backend.evaluation"),
    ("backend.training",),
    ("backend.farm",),
    ("backend.serving",),
    ("backend.retexture",),
    ("backend.pipeline",),
    (
        "backend.attempts",
        "backend.cascade",
        "backend.generated",
        "backend.guard",
        "backend.guide",
        "backend.material_run",
        "backend.material_stages",
        "backend.networks",
        "backend.reconstruction",
        "backend.stages",
    ),
    ("backend.progress",),
    ("backend.images",),
    ("backend.weights",),
    ("backend.store",),
    ("backend.mesh",),
    ("backend.models",),
    ("backend.sampling", "backend.sparse"),
    ("backend.config",),
    ("backend.modes",),
    ("backend.errors",),
    ("backend.protocol",),
    ("backend.disk_errors",),
    (
        "backend.settings",
        "backend.image_facts",
        "backend.files",
        "backend.batches",
        "backend.typed_json",
        "backend.memory",
        "backend.kept",
    ),
    (
        "backend.names",
        "backend.whole",
        "backend.asset_facts",
        "backend.certificate",
        "backend.formats",
        "backend.places",
        "backend.portrait_facts",
        "backend.print_facts",
        "backend.threemf",
        "backend.signals",
        "backend.command_reports",
        "backend.kept",
    ),
)
#: The same inside the training and the mesh.
TRAINING = (
    ("backend.training.endless",),
    ("backend.training.distillation",),
    ("backend.training.export",),
    ("backend.training.scratch",),
    ("backend.training.objects", "backend.training.loop"),
    ("backend.training.flow_path", "backend.training.muon", "backend.training.run_folder"),
)
MESH = (
    (
        "backend.mesh.export",
        "backend.mesh.given",
        "backend.mesh.portrait",
        "backend.mesh.printing",
        "backend.mesh.voxelize",
    ),
    ("backend.mesh.finish",),
    ("backend.mesh.lods", "backend.mesh.hulls"),
    ("backend.mesh.decompose",),
    ("backend.mesh.paint",),
    ("backend.mesh.bake",),
    ("backend.mesh.unwrap", "backend.mesh.quads", "backend.mesh.clean", "backend.mesh.sound", "backend.mesh.extract"),
    ("backend.mesh.base",),
)
ADDON = (
    ("blender_addon.ui", "blender_addon.command"),
    ("blender_addon.batch_made",),
    ("blender_addon.batch", "blender_addon.batch_formats", "blender_addon.batch_line", "blender_addon.api"),
    ("blender_addon.request",),
    ("blender_addon.pump",),
    ("blender_addon.scene",),
    ("blender_addon.installation",),
    ("blender_addon.server",),
    ("blender_addon.jobs",),
    ("blender_addon.choices", "blender_addon.translations", "blender_addon.report"),
    ("blender_addon.extension",),
)
#: The goldens of the training's losses, which are imported lazily themselves.
GOLDENS_OF_TRAINING = "backend.goldens.distillation"
#: What the training must not need: it runs without the process that serves requests.
NOT_IN_TRAINING = ("backend.serving", "backend.pipeline", "backend.retexture", "backend.guard", "backend.guide")


def broken_rules(module: str, source: str) -> list[str]:
    """What a module imports against the rules."""
    rules = (blender_rule, border_rule, addon_rule, layer_rule, training_rule, plain_rule)
    found = [f"{module}: {what}" for rule in rules for one in imported(module, source) if (what := rule(module, *one))]
    return list(dict.fromkeys(found))


@functools.cache  # three tests ask for those of each module
def imported(module: str, source: str) -> tuple[tuple[str, bool, bool], ...]:
    """(absolute name of what is imported, whether relatively, whether inside a function) for each import."""
    return tuple(_imported(module.split("."), ast.parse(source), lazy=False))


def _imported(package: list[str], parent: ast.AST, lazy: bool) -> Iterator[tuple[str, bool, bool]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.removeprefix("espalier."), False, lazy
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level]) if node.level else ""
            for alias in node.names:
                name = ".".join(part for part in (base, node.module, alias.name) if part)
                yield name.removeprefix("espalier."), node.level > 0, lazy
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):  # no import is inside an expression
            yield from _imported(package, node, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def within(name: str, parents: Iterable[str]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def layer(name: str, layers: tuple[tuple[str, ...], ...]) -> int | None:
    return next((index for index, members in enumerate(layers) if within(name, members)), None)


def blender_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    if name.partition(".")[0] not in BLENDER:
        return ""
    allowed = module in WITH_BLENDER or (within(module, ("blender_addon",)) and not within(module, WITHOUT_BLENDER))
    return "" if allowed else f"{name} exists only inside Blender"


def border_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    """Between the two processes."""
    if within(module, ("backend",)) and within(name, ("blender_addon",)):
        return f"{name}: the backend knows nothing of the add-on"
    if within(module, ("blender_addon",)) and within(name, ("backend",)):
        if not within(name, SHARED):
            return f"{name}: the add-on shares only {' and '.join(SHARED)} with the backend"
        if not relative:
            return f"{name}: the add-on imports it relatively, for its package has another name when installed"
    return ""


def addon_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    top = name.partition(".")[0]
    if not within(module, ("blender_addon",)) or relative or top in BLENDER | sys.stdlib_module_names | {"numpy"}:
        return ""
    return f"{name}: Blender's Python has only numpy besides its own modules"


def layer_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    for top, layers in (
        ("backend.training", TRAINING),
        ("backend.mesh", MESH),
        ("backend", LAYERS),
        ("blender_addon", ADDON),
    ):
        if not (within(module, (top,)) and within(name, (top,))):
            continue
        if module.removesuffix(".__init__") == top or (layer(name, layers) is None and not is_module(name)):
            continue  # what the package itself defines, such as ``mesh.Mesh``, is for all of its rooms
        here, there = layer(module, layers), layer(name, layers)
        if here is None or there is None:
            return f"it or {name} has no place in the layers of {top}"
        if here > there:
            return f"{name} is above it"
    return ""


@functools.cache
def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def training_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    if within(module, ("backend.training",)):
        return f"{name}: the training does not need it" if within(name, NOT_IN_TRAINING) else ""
    if within(module, ("backend",)) and within(name, ("backend.training",)):
        used = within(module, ("backend.goldens",)) and (lazy or module == GOLDENS_OF_TRAINING)
        used |= within(module, ("backend.evaluation",))
        return "" if used else f"{name}: only the evaluation and the goldens use the training, these lazily"
    if name == GOLDENS_OF_TRAINING and not lazy:
        return f"{name} brings in the training: import it where it is used"
    return ""


def plain_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    if not within(module, STANDARD_LIBRARY_ONLY) or name.partition(".")[0] in sys.stdlib_module_names:
        return ""
    return "" if within(name, STANDARD_LIBRARY_ONLY) else f"{name} is not in the standard library"


# --- circles ---------------------------------------------------------------------------------------------------------


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules each imports; a package stands for its ``__init__``."""
    arrows: dict[str, set[str]] = {}
    for module, source in sources.items():
        here = module.removesuffix(".__init__")
        arrows[here] = set()
        for name, _, _ in imported(module, source):
            found = name
            while found and found not in sources and f"{found}.__init__" not in sources:
                found = found.rpartition(".")[0]
            if found and found != here:
                arrows[here].add(found)
    return arrows


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle, from one of them back to itself; empty if there is none."""
    done: set[str] = set()

    def walk(here: str, way: list[str]) -> list[str]:
        if here in way:
            return [*way[way.index(here) :], here]
        if here in done:
            return []
        for there in sorted(arrows.get(here, ())):
            if found := walk(there, [*way, here]):
                return found
        done.add(here)
        return []

    return next((found for start in sorted(arrows) if (found := walk(start, []))), [])


def rooms(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same between rooms: the folders at the top of each side, and the files beside them."""

    def room(name: str) -> str:
        return ".".join(name.split(".")[:2])

    found: dict[str, set[str]] = {}
    for here, there in arrows.items():
        if "." in here:  # the sides themselves are no rooms
            found.setdefault(room(here), set()).update(room(name) for name in there if "." in name)
    return {here: there - {here} for here, there in found.items()}


# --- the house -------------------------------------------------------------------------------------------------------


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(path for top in TOP for path in (ROOT / top).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name, path


def sources() -> dict[str, str]:
    return {module: path.read_text("utf-8") for module, path in modules()}


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_keep_to_the_rules(module: str, path: Path) -> None:
    assert broken_rules(module, path.read_text("utf-8")) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circle(graph(sources())) == []


def test_no_room_imports_itself_by_way_of_others() -> None:
    assert circle(rooms(graph(sources()))) == []


def test_a_circle_is_found_inside_functions_too() -> None:
    three = {
        "backend.a": "from .b import f",
        "backend.b": "def f():\n    from . import c",
        "backend.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import g",
    }
    assert circle(graph(three)) == ["backend.a", "backend.b", "backend.c", "backend.a"]
    assert circle(graph({**three, "backend.c": "import os"})) == []


def test_a_circle_of_rooms_is_found() -> None:
    four = {
        "backend.mesh.a": "from ..models.b import f",
        "backend.models.b": "",
        "backend.models.c": "from ..mesh.d import g",
        "backend.mesh.d": "",
    }
    arrows = graph(four)
    assert circle(arrows) == []
    assert circle(rooms(arrows)) == ["backend.mesh", "backend.models", "backend.mesh"]


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("backend.pipeline", "import bpy", "exists only inside Blender"),
        ("blender_addon.jobs.client", "from bpy.app import timers", "exists only inside Blender"),
        ("blender_addon.server.process", "def f():\n    import gpu", "exists only inside Blender"),
        ("scripts.train", "import mathutils", "exists only inside Blender"),
        ("backend.serving.loop", "from espalier.blender_addon import jobs", "knows nothing of the add-on"),
        ("blender_addon.pump", "from ..backend import config", "shares only backend.protocol"),
        ("blender_addon.server.process", "from ...backend.errors import describe", "shares only backend.protocol"),
        ("blender_addon.pump", "from ..backend import settings", "shares only backend.protocol"),
        ("blender_addon.pump", "from backend import protocol", "imports it relatively"),
        ("blender_addon.scene.mesh_import", "import torch", "has only numpy"),
        ("blender_addon.pump", "from .request import generate", "is above it"),
        ("blender_addon.scene.history", "from .. import pump", "is above it"),
        ("blender_addon.request.generate", "def f():\n    from ..ui import panels", "is above it"),
        ("blender_addon.server.install", "from .. import installation", "is above it"),
        ("blender_addon.thing", "from . import pump", "has no place in the layers"),
        ("backend.sparse.attention", "from ..models.layers import FeedForwardNet", "is above it"),
        ("backend.mesh.__init__", "from ..pipeline import Pipeline", "is above it"),
        ("backend.mesh.bake.bake", "from ...serving import loop", "is above it"),
        ("backend.mesh.base.flood", "from ..clean import cleanup", "is above it"),
        ("backend.training.objects.data", "from ..scratch import stages", "is above it"),
        ("backend.thing", "from . import protocol", "has no place in the layers"),
        ("backend.training.loop", "from ..pipeline import Pipeline", "the training does not need it"),
        ("backend.pipeline", "from .training import loop", "only the evaluation and the goldens use the training"),
        ("backend.goldens.networks", "from ..training.distillation import mdt", "lazily"),
        ("backend.protocol", "import numpy as np", "not in the standard library"),
        ("backend.settings", "from .config import ROOT", "not in the standard library"),
        ("scripts.dev", "import requests", "not in the standard library"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str, why: str) -> None:
    found = broken_rules(module, source)
    assert any(why in what for what in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("blender_addon.pump", "import bpy\nfrom ..backend import protocol\nfrom .scene import viewport"),
        (
            "blender_addon.server.process",
            "import os\nfrom ...backend import protocol\nfrom ..jobs.client import Backend",
        ),
        ("scripts.finish_sheet", "import bpy\nfrom espalier.blender_addon.scene import render_preview"),
        ("backend.goldens.networks", "def check():\n    from ..training.distillation import mdt"),
        ("backend.models.latent_flow", "from ..sparse import tensor\nfrom .layers import FeedForwardNet"),
        ("backend.mesh.base.flood", "from .. import Mesh"),
        ("backend.training.distillation.mdt", "from ...models.layers import FeedForwardNet\nimport torch"),
    ],
)
def test_what_the_rules_allow_is_not_reported(module: str, source: str) -> None:
    assert broken_rules(module, source) == []
