"""Which models there are, and which of them can be used: one answer for the panel, batch and the command line.

The command ``models`` prints it. Nothing here imports torch, so the answer takes a tenth of a second.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from ..config import read_json
from ..errors import describe
from ..modes import COARSE, MODES
from ..protocol import ModelInfo, ModelList, models_folder
from ..store.amounts import bytes_in, free_bytes, in_words
from ..store.catalog import (
    LOCK_NAME,
    PRETRAINED,
    PUBLISHED,
    PublishedModel,
    bundled_models,
    find_model,
    installed_lock,
    own_models,
    partial_folder,
)
from ..store.reports import Reports
from ..weights.folders import ModelFolder

#: Length of a stamp in hexadecimal digits.
_STAMP = 16


def models(options: argparse.Namespace) -> int:
    """Print the list of models. Returns the exit code."""
    reports = Reports(options.json)
    try:
        listed = list_models()
    except Exception as error:  # the command ends here, and says in words what went wrong
        reports.failed(*describe(error))
        return 1
    reports.tell(listed, "\n".join(line for model in listed.models for line in _words(model)))
    return 0


def list_models() -> ModelList:
    """All models: those bundled with Espalier, the person's own, and the published ones, installed or not."""
    entries = [_local(name, PRETRAINED / name, "bundled") for name in bundled_models()]
    entries += [_local(name, models_folder() / name, "own") for name in own_models()]
    entries += [_published(model) for model in PUBLISHED.values()]
    return ModelList(str(models_folder()), free_bytes(models_folder()), tuple(entries))


def usable_models() -> tuple[str, ...]:
    """Names of the models that ``generate`` accepts now."""
    return tuple(sorted(model.name for model in list_models().models if model.usable))


def model_info(name: str) -> ModelInfo:
    """What is known of one model, by its name or the path of its folder. Raises CheckpointError."""
    listed = {model.name: model for model in list_models().models}
    return listed.get(name) or _local(name, find_model(name), "own")


def _local(name: str, folder: Path, state: str) -> ModelInfo:
    """A model that is not downloaded."""
    size = bytes_in(folder)
    return ModelInfo(
        name=name,
        title=name,
        state=state,
        size=size,
        present=size,
        licence="GPL-3.0-or-later" if state == "bundled" else "",
        source="",
        needs=(),
        folder=str(folder),
        **_use(name),
    )


def _published(model: PublishedModel) -> ModelInfo:
    folder = models_folder() / model.name
    if installed_lock(model) is not None:
        state, present = "installed", bytes_in(folder)
    elif (folder / LOCK_NAME).exists():
        state, present = "damaged", bytes_in(folder)
    else:
        present = bytes_in(partial_folder(model))
        state = "partial" if present else "not installed"
    return ModelInfo(
        name=model.name,
        title=model.title,
        state=state,
        size=model.size,
        present=present,
        licence=model.licence,
        source=model.page,
        needs=model.needs,
        folder=str(folder),
        peaks=tuple(peak for each in (model, *_parts_of(model)) for peak in each.peaks),
        part_of=model.part_of,
        **(_use(model.name) if model.generates and state == "installed" else {}),
    )


def _parts_of(model: PublishedModel) -> list[PublishedModel]:
    return [other for other in PUBLISHED.values() if other.part_of == model.name]


def _use(name: str) -> dict[str, Any]:
    """What a model can be used for: the fields of ModelInfo from ``usable`` on. A faulty model gets a ``problem``."""
    try:
        folder = ModelFolder.find(name)
        folder.require_whole()
        gaussians = folder.config.gaussian_decoder
        return {
            "usable": True,
            "steps": (folder.config.structure_sampler.steps, folder.config.latent_sampler.steps),
            "teacher": _name_of(folder.base.path) if folder.base else "",
            "gaussians": gaussians is not None and folder.has(gaussians),
            "materials": folder.config.materials is not None,
            "guides": folder.config.materials is None,
            "resolution": _resolution(folder),
            **_choice_of(folder),
            "stamp": hashlib.sha256(repr(folder.stamp()).encode()).hexdigest()[:_STAMP],
        }
    except Exception as error:  # the folder may hold anything, and the other models must still be listed
        _, message, hint = describe(error)
        return {"problem": f"{message} {hint}".strip()}


def _choice_of(folder: ModelFolder) -> dict[str, Any]:
    """Which resolutions can be chosen: those of TRELLIS.2's modes, as far as the networks for them are there."""
    materials = folder.config.materials
    if materials is None:
        return {}
    finer = materials.fine_latent_flow, materials.fine_texture_flow
    is_fine = all(name is not None and folder.has(name) for name in finer)
    offered = tuple(sorted({mode.resolution for mode in MODES.values() if is_fine or not mode.is_fine}))
    own = MODES[materials.mode].resolution
    return {"resolutions": offered, "own_resolution": own if own in offered else COARSE}


def _resolution(folder: ModelFolder) -> int:
    """Cells along each side of the grid that surfaces are decoded on; 0 if the networks' descriptions do not say."""
    config = folder.config
    names = config.latent_flow, config.mesh_decoder
    latents, decoder = (read_json(folder.network(name).description).get("args", {}) for name in names)
    if config.materials is None:
        return 4 * int(latents.get("resolution", 0))
    return int(latents.get("resolution", 0)) << max(len(decoder.get("num_blocks", ())) - 1, 0)


def _name_of(base: Path) -> str:
    """A base's name: that of the known model in this folder, which may be a link to it; else the folder's own."""
    known = {PRETRAINED / name: name for name in bundled_models()}
    known |= {models_folder() / name: name for name in (*own_models(), *PUBLISHED)}
    return next((name for folder, name in known.items() if folder.resolve() == base.resolve()), base.name)


def _words(model: ModelInfo) -> list[str]:
    """A model's lines in the printed list."""
    state = model.state
    if state == "partial":
        state = f"{in_words(model.present)} of {in_words(model.size)} downloaded"
    lines = [f"{model.name:21}{in_words(model.size):>8}  {state}: {model.folder}"]
    if model.source:
        lines.append(f"{'':31}{model.title}, {model.source}, license: {model.licence}")
    if model.problem:
        lines.append(f"{'':31}cannot be used: {model.problem}")
    return lines
