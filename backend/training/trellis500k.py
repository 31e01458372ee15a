"""Objects in the layout that TRELLIS-500K's tools write, to distil on, and a check that names what is wrong with them.

::

    metadata.csv                        a row an object: sha256, aesthetic_score, cond_rendered, num_voxels,
                                        ss_latent_MODEL and latent_MODEL (True where made)
    ss_latents/MODEL/NAME.npz           mean [8, 16, 16, 16]: structure latents
    latents/MODEL/NAME.npz              coords [N, 3], feats [N, 8]: latents of the occupied voxels
    renders_cond/NAME/transforms.json   {"frames": [{"file_path": "000.png", ...}, ...]}
    renders_cond/NAME/*.png             RGBA pictures that conditions are taken from

NAME is an object's sha256. Latents of voxels are standardised with the mean and deviation that the model folder states.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..conditioning import ImageEncoder, images_to_tensor, prepare_image
from ..config import Normalization
from .distill import Clean

Stage = Literal["structure", "latents"]
Item = tuple[str, int]  # name, view

STRUCTURE_SHAPE = (8, 16, 16, 16)
CHANNELS, RESOLUTION = 8, 64


@dataclass(frozen=True)
class Dataset:
    """A folder of objects. ``aesthetic_score`` and ``max_voxels`` are what the published training left out."""

    folder: Path
    stage: Stage
    aesthetic_score: float = 4.5
    max_voxels: int = 32768

    @property
    def kind(self) -> str:
        """The folder of the stage's latents."""
        return "ss_latents" if self.stage == "structure" else "latents"

    @cached_property
    def model(self) -> str:
        """The encoder whose latents there are. Raises ValueError unless there is exactly one."""
        found = sorted(p.name for p in (self.folder / self.kind).glob("*") if p.is_dir())
        if len(found) != 1:
            names = ", ".join(found) or "none"
            raise ValueError(f"{self.folder / self.kind} should hold one encoder's latents, and holds: {names}")
        return found[0]

    def latents_path(self, name: str) -> Path:
        """Where an object's latents are."""
        return self.folder / self.kind / self.model / f"{name}.npz"

    def rows(self) -> list[dict[str, str]]:
        """metadata.csv. Raises ValueError if it is missing or lacks a column."""
        path = self.folder / "metadata.csv"
        if not path.exists():
            raise ValueError(f"{path} is missing: this is no data set in TRELLIS-500K's layout")
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = {"sha256", "aesthetic_score", self._made(), "cond_rendered"} - set(reader.fieldnames or ())
            if missing:
                raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
            return list(reader)

    def _made(self) -> str:
        return f"{'ss_latent' if self.stage == 'structure' else 'latent'}_{self.model}"

    def names(self) -> list[str]:
        """Objects that have latents and pictures and are good enough."""
        return [row["sha256"] for row in self.rows() if self._wanted(row)]

    def _wanted(self, row: dict[str, str]) -> bool:
        made = row[self._made()] == "True" and row["cond_rendered"] == "True"
        small = self.stage == "structure" or float(row.get("num_voxels") or 0) <= self.max_voxels
        return made and small and float(row["aesthetic_score"] or 0) >= self.aesthetic_score

    def pictures(self, name: str) -> list[Path]:
        """An object's pictures, in the order of its transforms.json."""
        folder = self.folder / "renders_cond" / name
        frames = json.loads((folder / "transforms.json").read_text("utf-8"))["frames"]
        return [folder / frame["file_path"] for frame in frames]


def problems(dataset: Dataset) -> Iterator[str]:
    """What is wrong, a sentence each; nothing if all is well."""
    try:
        names = dataset.names()
    except ValueError as error:
        yield str(error)
        return
    if not names:
        yield f"{dataset.folder / 'metadata.csv'} names no object that has latents and pictures"
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{name} is listed twice in metadata.csv"
        seen.add(name)
        yield from _latent_problems(dataset, name)
        yield from _picture_problems(dataset, name)


def _latent_problems(dataset: Dataset, name: str) -> Iterator[str]:
    path = dataset.latents_path(name)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, BadZipFile) as error:
        yield f"{path} cannot be read: {error}"
        return
    wanted = {"mean"} if dataset.stage == "structure" else {"coords", "feats"}
    if not wanted <= arrays.keys():
        yield f"{path} lacks {', '.join(sorted(wanted - arrays.keys()))}"
        return
    if dataset.stage == "structure":
        if arrays["mean"].shape != STRUCTURE_SHAPE:
            yield f"{path}: mean is {list(arrays['mean'].shape)}, not {list(STRUCTURE_SHAPE)}"
    else:
        coords, feats = arrays["coords"], arrays["feats"]
        if coords.ndim != 2 or coords.shape[1] != 3 or feats.shape != (len(coords), CHANNELS):
            shapes = f"coords {list(coords.shape)} and feats {list(feats.shape)}"
            yield f"{path}: {shapes} are not [N, 3] and [N, {CHANNELS}]"
        elif len(coords) == 0:
            yield f"{path} has no voxels"
        elif coords.min() < 0 or coords.max() >= RESOLUTION:
            yield f"{path} has voxels outside 0..{RESOLUTION - 1}"
        elif len(np.unique(coords, axis=0)) < len(coords):
            yield f"{path} has voxels more than once"
    if not all(np.isfinite(arrays[key]).all() for key in wanted):
        yield f"{path} holds numbers that are not finite"


def _picture_problems(dataset: Dataset, name: str) -> Iterator[str]:
    try:
        pictures = dataset.pictures(name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{dataset.folder / 'renders_cond' / name / 'transforms.json'} cannot be read: {error!r}"
        return
    if not pictures:
        yield f"{dataset.folder / 'renders_cond' / name} has no pictures"
    for path in pictures:
        try:
            with Image.open(path) as image:
                if image.mode != "RGBA":
                    yield f"{path} has no transparency ({image.mode})"
                elif image.getchannel("A").getextrema()[1] == 0:
                    yield f"{path} shows nothing"
        except OSError as error:
            yield f"{path} cannot be read: {error}"


class PublishedLatents:
    """A data set for ``distill``: latents from its files, tokens of a random picture from the frozen encoder."""

    def __init__(self, dataset: Dataset, encoder: ImageEncoder, normalization: Normalization | None) -> None:
        """``normalization`` is of the stage's latents. Raises ValueError if the data set has no objects."""
        self.dataset, self.encoder = dataset, encoder
        self.names = dataset.names()
        if not self.names:
            raise ValueError(next(problems(dataset)))
        mean, std = (normalization.mean, normalization.std) if normalization else ([0.0], [1.0])
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self._views = lru_cache(maxsize=1 << 16)(lambda name: len(dataset.pictures(name)))
        self._counts = lru_cache(maxsize=1 << 16)(lambda name: len(self._arrays(name)["coords"]))

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.dataset.latents_path(name), allow_pickle=False) as file:
            return dict(file)

    def draw(self, generator: torch.Generator) -> Item:
        name = self.names[int(torch.randint(len(self.names), (1,), generator=generator))]
        return name, int(torch.randint(self._views(name), (1,), generator=generator))

    def shape(self, item: Item) -> tuple[int, ...]:
        return STRUCTURE_SHAPE if self.dataset.stage == "structure" else (self._counts(item[0]), CHANNELS)

    def load(self, items: list[Item], device: torch.device) -> Clean:
        arrays = [self._arrays(name) for name, _ in items]
        cond = self._tokens(items, device)
        if self.dataset.stage == "structure":
            x = torch.stack([torch.from_numpy(a["mean"]).float() for a in arrays])
            shape = (1, -1, 1, 1, 1)
            return Clean(((x - self.mean.view(shape)) / self.std.view(shape)).to(device), None, cond)
        feats = torch.cat([torch.from_numpy(a["feats"]).float() for a in arrays])
        coords = [
            torch.nn.functional.pad(torch.from_numpy(a["coords"].astype(np.int32)), (1, 0), value=row)
            for row, a in enumerate(arrays)
        ]
        return Clean(((feats - self.mean) / self.std).to(device), torch.cat(coords).to(device), cond)

    @torch.no_grad()
    def _tokens(self, items: list[Item], device: torch.device) -> Tensor:
        size = self.encoder.grid * self.encoder.patch_size
        prepared = []
        for name, view in items:
            with Image.open(self.dataset.pictures(name)[view]) as image:
                prepared.append(prepare_image(image.convert("RGBA"), size))
        tokens: Tensor = self.encoder(images_to_tensor(prepared, size).to(device))
        return tokens.float()
