"""Who may import whom, read from the sources: nothing is imported to find out.

``blender_addon`` runs in Blender's Python and ``backend`` in its own; ``backend.protocol`` is all they share. Inside
the backend, imports go down the layers, never up.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
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
#: Files that may import Blender's modules, besides the add-on's.
WITH_BLENDER = {"scripts.finish_sheet"}
#: The add-on's files that must work without Blender.
WITHOUT_BLENDER = (
    "blender_addon.client",
    "blender_addon.jobs",
    "blender_addon.journal",
    "blender_addon.pixels",
    "blender_addon.portrait",
    "blender_addon.progress",
    "blender_addon.quality",
    "blender_addon.server",
)
STANDARD_LIBRARY_ONLY = ("backend.protocol", "scripts.dev", "scripts.lock")
#: The backend's layers from the top. A module imports from its own layer and from those below.
LAYERS = (
    ("backend.__main__",),
    ("backend.goldens", "backend.evaluation"),
    ("backend.training",),
    ("backend.serve", "backend.download", "backend.install", "backend.hub", "backend.packages", "backend.snapshot"),
    ("backend.job",),
    ("backend.pipeline", "backend.retexture"),
    (
        "backend.conditioning",
        "backend.gaussians",
        "backend.guard",
        "backend.images",
        "backend.sampling",
        "backend.models",
        "backend.mesh",
        "backend.checkpoints",
    ),
    (
        "backend.background",
        "backend.catalog",
        "backend.sparse",
        "backend.config",
        "backend.cutout",
        "backend.device",
        "backend.dinov2_layout",
        "backend.folders",
        "backend.integrity",
        "backend.random_weights",
        "backend.weights",
    ),
    ("backend.errors", "backend.protocol"),
)
#: The goldens of the training's losses, which are imported lazily themselves.
GOLDENS_OF_TRAINING = "backend.goldens.distillation"

#: What the training is made of; the process that serves requests is none of it.
TRAINING_USES = (
    "folders",
    "training",
    "models",
    "sparse",
    "sampling",
    "conditioning",
    "mesh",
    "checkpoints",
    "config",
    "errors",
)


def broken_rules(module: str, source: str) -> list[str]:
    """What a module imports against the rules."""
    rules = (blender_rule, border_rule, addon_rule, layer_rule, training_rule, plain_rule)
    imports = list(imported(module, ast.parse(source)))
    found = [f"{module}: {what}" for rule in rules for one in imports if (what := rule(module, *one))]
    return list(dict.fromkeys(found))


def imported(module: str, tree: ast.Module) -> Iterator[tuple[str, bool, bool]]:
    """(absolute name of what is imported, whether relatively, whether inside a function) for each import."""
    lazy = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    package = module.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.removeprefix("espalier."), False, id(node) in lazy
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level]) if node.level else ""
            for alias in node.names:
                name = ".".join(part for part in (base, node.module, alias.name) if part)
                yield name.removeprefix("espalier."), node.level > 0, id(node) in lazy


def within(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def layer(name: str) -> int | None:
    return next((index for index, members in enumerate(LAYERS) if within(name, members)), None)


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
        if not within(name, ("backend.protocol",)):
            return f"{name}: the add-on shares only backend.protocol with the backend"
        if not relative:
            return f"{name}: the add-on imports it relatively, for its package has another name when installed"
    return ""


def addon_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    top = name.partition(".")[0]
    if not within(module, ("blender_addon",)) or relative or top in BLENDER | sys.stdlib_module_names | {"numpy"}:
        return ""
    return f"{name}: Blender's Python has only numpy besides its own modules"


def layer_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    if not within(module, ("backend",)) or not within(name, ("backend",)):
        return ""
    here, there = layer(module), layer(name)
    if here is None or there is None:
        return f"it or {name} has no place in LAYERS"
    return "" if here <= there else f"{name} is above it"


def training_rule(module: str, name: str, relative: bool, lazy: bool) -> str:
    if within(module, ("backend.training",)) and within(name, ("backend",)):
        allowed = tuple(f"backend.{part}" for part in TRAINING_USES)
        return "" if within(name, allowed) else f"{name}: the training does not need it"
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
    return f"{name} is not in the standard library"


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(path for top in TOP for path in (ROOT / top).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name, path


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_keep_to_the_rules(module: str, path: Path) -> None:
    assert broken_rules(module, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("backend.pipeline", "import bpy", "exists only inside Blender"),
        ("blender_addon.client", "from bpy.app import timers", "exists only inside Blender"),
        ("blender_addon.server.process", "def f():\n    import gpu", "exists only inside Blender"),
        ("scripts.train", "import mathutils", "exists only inside Blender"),
        ("backend.serve", "from espalier.blender_addon import jobs", "knows nothing of the add-on"),
        ("blender_addon.pump", "from ..backend import config", "shares only backend.protocol"),
        ("blender_addon.server.process", "from ...backend.errors import describe", "shares only backend.protocol"),
        ("blender_addon.pump", "from backend import protocol", "imports it relatively"),
        ("blender_addon.mesh_import", "import torch", "has only numpy"),
        ("backend.sparse.attention", "from ..models.layers import FeedForwardNet", "is above it"),
        ("backend.mesh.__init__", "from ..pipeline import Pipeline", "is above it"),
        ("backend.mesh.bake", "from .. import serve", "is above it"),
        ("backend.thing", "from . import protocol", "has no place in LAYERS"),
        ("backend.training.loop", "from ..pipeline import Pipeline", "the training does not need it"),
        ("backend.pipeline", "from .training import loop", "only the evaluation and the goldens use the training"),
        ("backend.goldens.networks", "from ..training import mdt", "lazily"),
        ("backend.protocol", "import numpy as np", "not in the standard library"),
        ("scripts.dev", "import requests", "not in the standard library"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str, why: str) -> None:
    found = broken_rules(module, source)
    assert any(why in what for what in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("blender_addon.pump", "import bpy\nfrom ..backend import protocol\nfrom . import viewport"),
        ("blender_addon.server.process", "import os\nfrom ...backend import protocol\nfrom ..client import Backend"),
        ("scripts.finish_sheet", "import bpy\nfrom espalier.blender_addon import render_preview"),
        ("backend.goldens.networks", "def check():\n    from ..training import mdt"),
        ("backend.models.latent_flow", "from ..sparse import tensor\nfrom .layers import FeedForwardNet"),
        ("backend.training.mdt", "from ..models.layers import FeedForwardNet\nimport torch"),
    ],
)
def test_what_the_rules_allow_is_not_reported(module: str, source: str) -> None:
    assert broken_rules(module, source) == []
