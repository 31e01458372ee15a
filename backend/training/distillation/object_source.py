"""Where a student's objects come from: our procedural ones, a data set in TRELLIS-500K's layout, or pictures alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from ...models.image_encoder import DinoEncoder
from ...models.structure_flow import StructureFlow
from ...weights.checkpoints import load_network
from ..objects.data import shards_there
from ..scratch.presets import PRESETS
from ..scratch.stages import Run
from . import picture_folder
from .items import LatentSet
from .layouts import LAYOUTS, TRELLIS_500K
from .methods import StageName
from .procedural import ProceduralStructures, ProceduralVoxels, held_out, latents_of
from .teacher import Teacher
from .trellis500k import Dataset, PublishedLatents, problems

#: How many objects have their samples drawn during a run.
PICTURED = 6


class OpenObjects(NamedTuple):
    """Objects as latents under the teacher's encoders."""

    latents: LatentSet
    pictured: list[Any]  # the items whose samples are drawn
    name: str  # of the whole set


@dataclass(frozen=True)
class ObjectSource:
    """The objects of a run. A preset with procedural objects uses those that ``scripts.train`` made, by default in its
    own folder. Any other preset needs ``given``, the folder of a data set. ``pictures`` is a folder that takes the
    place of either; then latents need ``structure``, the model that makes the voxels, and for textures the shapes."""

    preset: str
    stage: StageName
    cache: Path  # where our own folders are
    given: Path | None = None
    pictures: Path | None = None
    structure: str | None = None

    @property
    def procedural(self) -> bool:
        """Whether the objects are our procedural ones."""
        return self.preset in PRESETS

    @property
    def folder(self) -> Path:
        """The folder of the objects. Raises ValueError, with what to do, if none was given and there is no default."""
        if self.given is None and not self.procedural:
            layout = LAYOUTS.get(self.preset, TRELLIS_500K).name
            advice = f"--data FOLDER, a data set in {layout}'s layout, or for some methods --data-free IMAGES"
            raise ValueError(f"this preset needs {advice}")
        return self.given or self.cache / "train" / self.preset

    @property
    def dataset(self) -> Dataset:
        """The data set that was given, if the objects are not procedural. Raises ValueError as ``folder``."""
        return Dataset(self.folder, self.stage, layout=LAYOUTS.get(self.preset, TRELLIS_500K))

    def require(self) -> None:
        """Raise ValueError, with what to do, unless the objects are there."""
        if self.pictures is not None:
            picture_folder.pictures_in(self.pictures)
            if self.stage != "structure":
                picture_folder.require_students(self.stage, self.structure)
            return
        folder = self.folder
        if not self.procedural:
            if not self.dataset.names():
                raise ValueError(f"{folder} has no objects to learn from: --check-data says why")
            return
        data = PRESETS[self.preset].data
        there = shards_there(data, folder / "data")
        if there < data.shards:
            command = f"python -m scripts.train data --preset {self.preset}"
            command += f" --folder {self.given}" if self.given else ""
            words = f"has {there} of {data.shards} shards of objects; make them with"
            raise ValueError(f"{folder / 'data'} {words}: {command}")

    def problems(self) -> list[str]:
        """What is wrong with a data set, one sentence for each problem."""
        if self.pictures is not None:
            return list(picture_folder.problems(self.pictures))
        return list(problems(self.dataset))

    def open(self, teacher: Teacher, device: torch.device) -> OpenObjects:
        """Encode the objects with the teacher's encoders. Raises CheckpointError, and ValueError for damaged data."""
        model = teacher.model
        if self.pictures is not None:
            return self._open_pictures(self.pictures, teacher, device)
        if self.procedural:
            latents = latents_of(Run(PRESETS[self.preset], self.folder, device), model)
            kind = ProceduralStructures if self.stage == "structure" else ProceduralVoxels
            data = kind(latents, teacher.normalization)
            return OpenObjects(data, held_out(latents, PICTURED), f"{self.preset}, {latents.folder.name}")
        encoder = load_network(model.network(model.config.image_encoder), DinoEncoder, device)
        shapes = model.config.latent_normalization if self.stage == "textures" else None
        published = PublishedLatents(self.dataset, encoder, teacher.normalization, shapes, tight=teacher.tight)
        name = f"{self.folder.resolve().name}, {len(published.names)} objects"
        return OpenObjects(published, [(name, 0) for name in published.names[:PICTURED]], name)

    def _open_pictures(self, folder: Path, teacher: Teacher, device: torch.device) -> OpenObjects:
        paths, model = picture_folder.pictures_in(folder), teacher.model
        encoder = load_network(model.network(model.config.image_encoder), DinoEncoder, device)
        students = picture_folder.Students.of(self.stage, self.structure, device)
        name = f"{folder.resolve().name}, {len(paths)} pictures{students.names}"
        flow = cast(StructureFlow, teacher.described())  # the other flow has these numbers, too
        pictures = picture_folder.PictureSet(
            paths, encoder, flow.out_channels, flow.resolution, students, tight=teacher.tight, most=teacher.most_voxels
        )
        return OpenObjects(pictures, [(picture, 0) for picture in range(min(PICTURED, len(paths)))], name)
