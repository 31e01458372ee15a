"""Which models can be used now, and in how many steps each of them works. No bpy.

A model lies in a folder with a ``pipeline.json``. One with an ``overlay.json``, or without any network's description,
is a *student*: flows distilled from another model, its teacher, for so many steps or fewer. Only what is whole is
offered: a folder whose networks have not all arrived is no model yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..server.resources import find_models

#: A student of so many steps at most was distilled; it works in each smaller number too. A teacher does not.
FEW_STEPS = 4
DEFAULT_TEACHER = "trellis-image-large"
ENCODER = ("dinov2_vitl14_reg", "dinov2-vitl14-reg")  # what published models call it, the folder that it lies in
NEEDED = ("sparse_structure_flow_model", "sparse_structure_decoder", "slat_flow_model", "slat_decoder_mesh")
SAMPLERS = ("sparse_structure_sampler", "slat_sampler")
FRESH = 2.0  # seconds until the folders are looked at again

TITLES = {"mini": "Mini (Demonstration)", "trellis-image-large": "TRELLIS Image Large"}

_seen: tuple[tuple[Path, str], float, dict[str, Model]] | None = None


@dataclass(frozen=True)
class Model:
    """``request`` is what a request calls it, ``steps`` are those for the structure and for the latents, ``teacher`` is
    what a student was distilled from."""

    name: str
    request: str
    steps: tuple[int, int]
    teacher: str = ""
    gaussians: bool = False

    @property
    def title(self) -> str:
        return TITLES.get(self.name, self.name)

    @property
    def family(self) -> str:
        """The model that a person chooses: a student is one of its teacher's qualities."""
        return self.teacher or self.name


@dataclass(frozen=True)
class Quality:
    """A model in a number of steps; None are as many as it was made for. ``named``: another one has as many steps."""

    model: Model
    steps: int | None = None
    named: bool = False

    @property
    def pair(self) -> tuple[int, int]:
        """Steps for the structure and for the latents."""
        return (self.steps, self.steps) if self.steps else self.model.steps

    def label(self, translate: Callable[[str], str] = str) -> str:
        """*1 Step*, *25 Steps*, *2 + 25 Steps*."""
        label = steps_label(*self.pair, translate)
        return f"{label}, {translate(self.model.title)}" if self.named else label


def steps_label(structure: int, latents: int, translate: Callable[[str], str] = str) -> str:
    number = str(structure) if structure == latents else f"{structure} + {latents}"
    return translate("{n} Step" if number == "1" else "{n} Steps").format(n=number)


def models_at_hand(root: Path, models_folder: str) -> dict[str, Model]:
    """The models that can be used now, by name. What was found is believed for two seconds: panels draw often."""
    global _seen
    asked, now = (root, models_folder), time.monotonic()
    if _seen is None or _seen[0] != asked or now > _seen[1] + FRESH:
        _seen = asked, now, read_models(root, models_folder)
    return _seen[2]


def read_models(root: Path, models_folder: str) -> dict[str, Model]:
    requests = find_models(root, models_folder)
    folders = {
        name: Path(request) if Path(request).is_absolute() else root / "backend" / "pretrained" / request
        for name, request in requests.items()
    }
    found = {}
    for name, folder in folders.items():
        try:
            model = _read(name, requests[name], folder, folders)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a pipeline.json that can be used: the backend says why to whoever asks for it by path
        if model is not None:
            found[name] = model
    return found


def qualities(models: dict[str, Model], family: str) -> list[Quality]:
    """What a family offers, the quickest first: its students in as many steps as they were made for and fewer, and the
    teacher in its own."""
    offered: list[Quality] = []
    members = [model for model in models.values() if model.family == family]
    for model in sorted(members, key=lambda model: (not model.teacher, max(model.steps), model.name)):
        fewer = range(1, max(model.steps)) if model.teacher and max(model.steps) <= FEW_STEPS else ()
        for steps in (None, *fewer):
            taken = any(Quality(model, steps).pair == other.pair for other in offered)
            offered.append(Quality(model, steps, taken))
    return sorted(offered, key=lambda quality: (sum(quality.pair), quality.named))


def _read(name: str, request: str, folder: Path, folders: dict[str, Path]) -> Model | None:
    """A model's folder. None if something of it is missing."""
    args = _args(folder)
    teacher = _teacher(folder)
    places = [folder]
    if teacher:
        if teacher not in folders:
            return None
        places.append(folders[teacher])
        base = _args(folders[teacher])
        args = base | args | {"models": base["models"] | args.get("models", {})}
    networks = args["models"]
    if not all(_has_weights(networks[key], places) for key in NEEDED):
        return None
    if not _has_encoder(args["image_cond_model"], places):
        return None
    structure, latents = (int(args[key]["params"].get("steps", 50)) for key in SAMPLERS)
    gaussians = "slat_decoder_gs" in networks and _has_weights(networks["slat_decoder_gs"], places)
    return Model(name, request, (structure, latents), teacher, gaussians)


def _args(folder: Path) -> dict[str, Any]:
    args = json.loads((folder / "pipeline.json").read_text("utf-8"))["args"]
    if not isinstance(args, dict):
        raise TypeError(f"{folder}: pipeline.json has no arguments")
    return args


def _teacher(folder: Path) -> str:
    """The name of the model that a folder's flows were distilled from; empty if it is whole."""
    overlay = folder / "overlay.json"
    if overlay.exists():
        return Path(json.loads(overlay.read_text("utf-8"))["base"]).name
    return "" if any((folder / "ckpts").glob("*.json")) else DEFAULT_TEACHER


def _has_encoder(name: str, places: list[Path]) -> bool:
    if _has_weights(name, places):
        return True
    beside = [place.parent / ENCODER[1] for place in places]
    return Path(name).name == ENCODER[0] and any(any(folder.glob("*.safetensors")) for folder in beside)


def _has_weights(network: str, places: list[Path]) -> bool:
    return any(path.is_file() for place in places for path in _weights(place, network))


def _weights(folder: Path, network: str) -> Iterator[Path]:
    last = Path(network).name
    for stem in (folder / network, folder / "ckpts" / last, folder / last):
        yield from (stem.with_name(stem.name + suffix) for suffix in (".safetensors", ".pt", ".pth"))
