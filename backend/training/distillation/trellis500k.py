"""Objects as TRELLIS-500K's tools write them, to distil on, and a check that names what is wrong with them.

::

    metadata.csv                        a row per object: sha256, aesthetic_score, cond_rendered, num_voxels,
                                        ss_latent_MODEL and latent_MODEL (True where made)
    ss_latents/MODEL/NAME.npz           mean [8, 16, 16, 16]: structure latents
    latents/MODEL/NAME.npz              coords [N, 3], feats [N, 8]: latents of the occupied voxels
    renders_cond/NAME/transforms.json   {"frames": [{"file_path": "000.png", ...}, ...]}
    renders_cond/NAME/*.png             RGBA pictures, the conditions

NAME is an object's sha256. Voxel latents are standardised with the mean and standard deviation in the model folder.
"""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...config import Normalization
from ...images.framing import images_to_tensor, object_box, prepare_image
from ...models.image_encoder import ImageEncoder
from .items import Clean
from .methods import StageName

Item = tuple[str, int]  # name, view

STRUCTURE_SHAPE = (8, 16, 16, 16)
CHANNELS, RESOLUTION = 8, 64
#: The most voxels of an object in the published training.
MAX_VOXELS = 32768


@dataclass(frozen=True)
class Dataset:
    """A folder of objects. ``aesthetic_score`` (least) and ``max_voxels`` are the published training's limits."""

    folder: Path
    stage: StageName
    aesthetic_score: float = 4.5
    max_voxels: int = MAX_VOXELS

    @property
    def kind(self) -> str:
        """The name of the folder with the stage's latents."""
        return "ss_latents" if self.stage == "structure" else "latents"

    @cached_property
    def model(self) -> str:
        """The encoder that made the latents. Raises ValueError unless there is exactly one."""
        found = sorted(p.name for p in (self.folder / self.kind).glob("*") if p.is_dir())
        if len(found) != 1:
            names = ", ".join(found) or "none"
            raise ValueError(f"{self.folder / self.kind} should hold one encoder's latents, but holds: {names}")
        return found[0]

    def latents_path(self, name: str) -> Path:
        """The file of an object's latents."""
        return self.folder / self.kind / self.model / f"{name}.npz"

    def rows(self) -> list[dict[str, str]]:
        """The rows of metadata.csv. Raises ValueError if it is missing or lacks a column."""
        path = self.folder / "metadata.csv"
        if not path.exists():
            raise ValueError(f"{path} is missing: this is not a data set in TRELLIS-500K's layout")
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                columns, rows = set(reader.fieldnames or ()), list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        missing = {"sha256", "aesthetic_score", self._made(), "cond_rendered"} - columns
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        return rows

    def _made(self) -> str:
        return f"{'ss_latent' if self.stage == 'structure' else 'latent'}_{self.model}"

    def names(self) -> list[str]:
        """The objects that have latents and pictures and are within the limits. Raises ValueError."""
        return [row["sha256"] for row in self.rows() if self.wants(row)]

    def wants(self, row: dict[str, str]) -> bool:
        """Whether a row's object is one of ``names``. Raises ValueError if a number is not one."""
        made = row[self._made()] == "True" and row["cond_rendered"] == "True"
        small = self.stage == "structure" or self._number(row, "num_voxels") <= self.max_voxels
        return made and small and self._number(row, "aesthetic_score") >= self.aesthetic_score

    def _number(self, row: dict[str, str], column: str) -> float:
        """A number from a row; 0 if it is empty."""
        text = row.get(column) or "0"
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise ValueError(f"{self.folder / 'metadata.csv'}: {column} of {row['sha256']} is {text!r}, not a number")
        return value

    def pictures(self, name: str) -> list[Path]:
        """An object's pictures, in the order of its transforms.json. Raises ValueError if there are none."""
        folder = self.folder / "renders_cond" / name
        try:
            frames = json.loads((folder / "transforms.json").read_text("utf-8"))["frames"]
            paths = [folder / frame["file_path"] for frame in frames]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / 'transforms.json'} cannot be read: {error!r}") from error
        if not paths:
            raise ValueError(f"{folder} has no pictures")
        return paths


def problems(dataset: Dataset) -> Iterator[str]:
    """What is wrong with a data set, one sentence for each problem."""
    try:
        rows = dataset.rows()
    except ValueError as error:
        yield str(error)
        return
    seen: set[str] = set()
    for row in rows:
        name = row["sha256"]
        try:
            if not dataset.wants(row):
                continue
        except ValueError as error:
            yield str(error)
            continue
        if name in seen:
            yield f"{name} is listed twice in metadata.csv"
        seen.add(name)
        yield from _object_problems(dataset, name)
    if not seen:
        yield f"{dataset.folder / 'metadata.csv'} lists no object with latents, pictures and a high enough score"


def _object_problems(dataset: Dataset, name: str) -> Iterator[str]:
    try:
        read_latents(dataset.latents_path(name), dataset.stage)
    except ValueError as error:
        yield str(error)
    try:
        pictures = dataset.pictures(name)
    except ValueError as error:
        yield str(error)
        return
    for path in pictures:
        try:
            read_picture(path)
        except ValueError as error:
            yield str(error)


def read_latents(path: Path, stage: StageName) -> dict[str, np.ndarray]:
    """An object's latents. Raises ValueError that names the file and what is wrong with it."""
    wanted = {"mean"} if stage == "structure" else {"coords", "feats"}
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it is not an .npz archive")
        with loaded as file:
            arrays = {key: np.asarray(file[key]) for key in wanted & set(file.files)}
    except (OSError, ValueError, EOFError, RuntimeError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if wanted - arrays.keys():
        raise ValueError(f"{path} lacks {', '.join(sorted(wanted - arrays.keys()))}")
    problem = _structure_problem(**arrays) if stage == "structure" else _voxel_problem(**arrays)
    if problem:
        raise ValueError(f"{path}{problem}")
    return arrays


def _structure_problem(mean: np.ndarray) -> str:
    """What is wrong with structure latents, to append to the file's name; empty if nothing is."""
    if mean.shape != STRUCTURE_SHAPE:
        return f": mean is {list(mean.shape)}, not {list(STRUCTURE_SHAPE)}"
    return _number_problem("mean", mean)


def _voxel_problem(coords: np.ndarray, feats: np.ndarray) -> str:
    """What is wrong with the latents of voxels, to append to the file's name; empty if nothing is."""
    if coords.ndim != 2 or coords.shape[1] != 3 or feats.shape != (len(coords), CHANNELS):
        shapes = f"coords {list(coords.shape)} and feats {list(feats.shape)}"
        return f": {shapes} are not [N, 3] and [N, {CHANNELS}]"
    if not np.issubdtype(coords.dtype, np.integer):
        return f": coords holds {coords.dtype}, not whole numbers"
    if len(coords) == 0:
        return " has no voxels"
    if coords.min() < 0 or coords.max() >= RESOLUTION:
        return f" has voxels outside 0..{RESOLUTION - 1}"
    x, y, z = coords.astype(np.int64).T
    if len(np.unique((x * RESOLUTION + y) * RESOLUTION + z)) < len(coords):
        return " has voxels more than once"
    return _number_problem("feats", feats)


def _number_problem(name: str, values: np.ndarray) -> str:
    if not np.issubdtype(values.dtype, np.floating):
        return f": {name} holds {values.dtype}, not floating-point numbers"
    return "" if np.isfinite(values).all() else " holds numbers that are not finite"


def read_picture(path: Path) -> Image.Image:
    """A picture with its object on transparency. Raises ValueError that names the file and what is wrong with it."""
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # for damaged files, decoders raise almost anything
        raise ValueError(f"{path} cannot be read: {error}") from error
    if image.mode != "RGBA":
        raise ValueError(f"{path} has no transparency ({image.mode})")
    alpha = np.asarray(image.getchannel("A"))
    if alpha.min() == 255:
        raise ValueError(f"{path} has no transparency: all of it is opaque")
    try:
        object_box(alpha)
    except ValueError as error:
        raise ValueError(f"{path} shows no object: {error}") from error
    return image


class PublishedLatents:
    """A data set for ``distill``: latents from its files, tokens of a random picture from the frozen encoder."""

    def __init__(self, dataset: Dataset, encoder: ImageEncoder, normalization: Normalization) -> None:
        """``normalization`` is that of the stage's latents. Raises ValueError if the data set has no objects. The other
        methods raise it for a file that cannot be used."""
        self.dataset, self.encoder = dataset, encoder
        self.names = dataset.names()
        if not self.names:
            raise ValueError(next(problems(dataset)))
        self.mean, self.std = torch.tensor(normalization.mean), torch.tensor(normalization.std)
        self._views = lru_cache(maxsize=1 << 16)(lambda name: len(dataset.pictures(name)))
        self._counts = lru_cache(maxsize=1 << 16)(lambda name: len(self._arrays(name)["coords"]))

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        return read_latents(self.dataset.latents_path(name), self.dataset.stage)

    def draw(self, generator: torch.Generator) -> Item:
        """A random object and one of its pictures."""
        name = self.names[int(torch.randint(len(self.names), (1,), generator=generator))]
        return name, int(torch.randint(self._views(name), (1,), generator=generator))

    def shape(self, item: Item) -> tuple[int, ...]:
        """[8, 16, 16, 16], or [N, 8] for an object of N voxels."""
        return STRUCTURE_SHAPE if self.dataset.stage == "structure" else (self._counts(item[0]), CHANNELS)

    def load(self, items: list[Item], device: torch.device) -> Clean:
        """The standardised latents and the pictures' tokens, on the device."""
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
        paths = [self.dataset.pictures(name)[view] for name, view in items]
        prepared = [prepare_image(read_picture(path), size) for path in paths]
        tokens: Tensor = self.encoder(images_to_tensor(prepared, size).to(device))
        return tokens.float()
