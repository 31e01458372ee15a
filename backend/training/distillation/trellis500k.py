"""Objects as TRELLIS-500K's tools write them, to distil on, and a check that names what is wrong with them.

``layouts`` has what differs in data sets that TRELLIS.2's toolkit writes. TRELLIS-500K's is

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
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...config import Normalization
from ...images.framing import object_box
from ...models.image_encoder import DinoEncoder
from ...stages import encode, prepare, standardized
from .items import Clean
from .layouts import STRUCTURE_SHAPE, TRELLIS_500K, Layout
from .methods import StageName

Item = tuple[str, int]  # name, view


@dataclass(frozen=True)
class Dataset:
    """A folder of objects. ``aesthetic_score`` is the least of the published training."""

    folder: Path
    stage: StageName
    aesthetic_score: float = 4.5
    layout: Layout = TRELLIS_500K

    @property
    def kind(self) -> str:
        """The name of the folder with the stage's latents."""
        return self.layout.folders[self.stage]

    @cached_property
    def shapes(self) -> Dataset | None:
        """The same objects' latents of shapes, which a flow of textures is given; None for another stage."""
        return replace(self, stage="latents") if self.stage == "textures" else None

    @cached_property
    def model(self) -> str:
        """The encoder that made the latents. Raises ValueError unless there is exactly one."""
        found = sorted(p.name for p in (self.folder / self.kind).glob("*") if p.is_dir())
        if len(found) > 1:
            found = [name for name in found if name.endswith(self.layout.ending(self.stage))] or found
        if len(found) != 1:
            names = ", ".join(found) or "none"
            raise ValueError(f"{self.folder / self.kind} should hold one encoder's latents, but holds: {names}")
        return found[0]

    def latents_path(self, name: str) -> Path:
        """The file of an object's latents."""
        return self.folder / self.kind / self.model / f"{name}.npz"

    def rows(self) -> list[dict[str, str]]:
        """The rows of metadata.csv, with what other tables of the layout say of the same objects. Raises ValueError if
        it is missing or lacks a column.
        """
        path = self.folder / "metadata.csv"
        if not path.exists():
            raise ValueError(f"{path} is missing: this is not a data set in {self.layout.name}'s layout")
        columns, rows = _table(path)
        for table in self._tables():
            if table.exists():
                more, others = _table(table)
                of = {row.get("sha256"): row for row in others}
                # As the toolkit joins them: the first table that says something counts.
                rows = [{**of.get(row.get("sha256"), {}), **{k: v for k, v in row.items() if v}} for row in rows]
                columns |= more
        missing = {"sha256", "aesthetic_score", *self._made(), "cond_rendered"} - columns
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        return rows

    def _tables(self) -> list[Path]:
        """The other tables that say something about the objects."""
        own = [self.folder / self.kind / self.model / "metadata.csv"] if self.layout.tables else []
        named = [self.folder / name / "metadata.csv" for name in self.layout.tables]
        return [*named, *own, *(self.shapes._tables() if self.shapes else [])]

    def _made(self) -> list[str]:
        """The columns that say whether latents were made: the stage's own, and those that it is given."""
        return [self.layout.made(self.stage, self.model), *(self.shapes._made() if self.shapes else [])]

    def names(self) -> list[str]:
        """The objects that have latents and pictures and are within the limits. Raises ValueError."""
        return [row["sha256"] for row in self.rows() if self.wants(row)]

    def wants(self, row: dict[str, str]) -> bool:
        """Whether a row's object is one of ``names``. Raises ValueError if a number is not one."""
        made = all(row.get(column) == "True" for column in (*self._made(), "cond_rendered"))
        small = self.stage == "structure" or self._number(row, self.layout.count(self.stage)) <= self.layout.most
        return made and small and self._number(row, "aesthetic_score") >= self.aesthetic_score

    def read(self, name: str) -> dict[str, np.ndarray]:
        """An object's latents. Raises ValueError that names the file and what is wrong with it."""
        return read_latents(self.latents_path(name), self.stage, self.layout)

    def read_shape(self, name: str) -> dict[str, np.ndarray] | None:
        """The latents of the shape that a texture belongs to; None for another stage. Raises ValueError as ``read``,
        and if they are on other voxels."""
        if self.shapes is None:
            return None
        own, shape = self.read(name), self.shapes.read(name)
        if not np.array_equal(own["coords"], shape["coords"]):
            raise ValueError(f"{self.latents_path(name)}: its voxels are not those of {self.shapes.latents_path(name)}")
        return shape

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


def _table(path: Path) -> tuple[set[str], list[dict[str, str]]]:
    """The columns and rows of a CSV file. Raises ValueError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return set(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


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
        dataset.read(name)
        dataset.read_shape(name)
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


def read_latents(path: Path, stage: StageName, layout: Layout = TRELLIS_500K) -> dict[str, np.ndarray]:
    """An object's latents. Raises ValueError that names the file and what is wrong with it."""
    wanted = {layout.key} if stage == "structure" else {"coords", "feats"}
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
    problem = _structure_problem(arrays, layout) if stage == "structure" else _voxel_problem(**arrays, layout=layout)
    if problem:
        raise ValueError(f"{path}{problem}")
    return arrays


def _structure_problem(arrays: dict[str, np.ndarray], layout: Layout) -> str:
    """What is wrong with structure latents, to append to the file's name; empty if nothing is."""
    values = arrays[layout.key]
    if values.shape != STRUCTURE_SHAPE:
        return f": {layout.key} is {list(values.shape)}, not {list(STRUCTURE_SHAPE)}"
    return _number_problem(layout.key, values)


def _voxel_problem(coords: np.ndarray, feats: np.ndarray, layout: Layout) -> str:
    """What is wrong with the latents of voxels, to append to the file's name; empty if nothing is."""
    side = layout.resolution
    if coords.ndim != 2 or coords.shape[1] != 3 or feats.shape != (len(coords), layout.channels):
        shapes = f"coords {list(coords.shape)} and feats {list(feats.shape)}"
        return f": {shapes} are not [N, 3] and [N, {layout.channels}]"
    if not np.issubdtype(coords.dtype, np.integer):
        return f": coords holds {coords.dtype}, not whole numbers"
    if len(coords) == 0:
        return " has no voxels"
    if coords.min() < 0 or coords.max() >= side:
        return f" has voxels outside 0..{side - 1}"
    x, y, z = coords.astype(np.int64).T
    if len(np.unique((x * side + y) * side + z)) < len(coords):
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

    def __init__(
        self,
        dataset: Dataset,
        encoder: DinoEncoder,
        normalization: Normalization,
        shapes: Normalization | None = None,
        *,
        tight: bool = False,
    ) -> None:
        """``normalization`` is that of the stage's latents, ``shapes`` that of the shapes' which textures need.
        ``tight`` frames pictures without a margin. Raises ValueError if the data set has no objects. The other methods
        raise it for a file that cannot be used.
        """
        self.dataset, self.encoder, self.shapes, self.tight = dataset, encoder, shapes, tight
        self.names = dataset.names()
        if not self.names:
            raise ValueError(next(problems(dataset)))
        self.mean, self.std = torch.tensor(normalization.mean), torch.tensor(normalization.std)
        self._views = lru_cache(maxsize=1 << 16)(lambda name: len(dataset.pictures(name)))
        self._counts = lru_cache(maxsize=1 << 16)(lambda name: len(self._arrays(name)["coords"]))

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        return self.dataset.read(name)

    def draw(self, generator: torch.Generator) -> Item:
        """A random object and one of its pictures."""
        name = self.names[int(torch.randint(len(self.names), (1,), generator=generator))]
        return name, int(torch.randint(self._views(name), (1,), generator=generator))

    def shape(self, item: Item) -> tuple[int, ...]:
        """[8, 16, 16, 16], or [N, 8] for an object of N voxels."""
        return (
            STRUCTURE_SHAPE
            if self.dataset.stage == "structure"
            else (self._counts(item[0]), self.dataset.layout.channels)
        )

    def load(self, items: list[Item], device: torch.device) -> Clean:
        """The standardised latents and the pictures' tokens, on the device."""
        arrays = [self._arrays(name) for name, _ in items]
        cond = self._tokens(items, device)
        if self.dataset.stage == "structure":
            x = torch.stack([torch.from_numpy(a[self.dataset.layout.key]).float() for a in arrays])
            shape = (1, -1, 1, 1, 1)
            return Clean(((x - self.mean.view(shape)) / self.std.view(shape)).to(device), None, cond)
        feats = torch.cat([torch.from_numpy(a["feats"]).float() for a in arrays])
        coords = [
            torch.nn.functional.pad(torch.from_numpy(a["coords"].astype(np.int32)), (1, 0), value=row)
            for row, a in enumerate(arrays)
        ]
        x_0, fixed = ((feats - self.mean) / self.std).to(device), self._fixed([name for name, _ in items])
        return Clean(x_0, torch.cat(coords).to(device), cond, None if fixed is None else fixed.to(device))

    def _fixed(self, names: list[str]) -> Tensor | None:
        """The standardised latents [N, c] of the shapes that textures belong to; None for another stage."""
        found = [shape for name in names if (shape := self.dataset.read_shape(name)) is not None]
        if not found or self.shapes is None:
            return None
        feats = torch.cat([torch.from_numpy(shape["feats"]).float() for shape in found])
        return standardized(feats, self.shapes)

    @torch.no_grad()
    def _tokens(self, items: list[Item], device: torch.device) -> Tensor:
        paths = [self.dataset.pictures(name)[view] for name, view in items]
        pixels = prepare([read_picture(path) for path in paths], self.encoder.side, tight=self.tight)
        return encode(self.encoder, pixels.to(device)).float()
