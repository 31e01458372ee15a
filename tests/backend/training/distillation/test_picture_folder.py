"""A folder of pictures as something to distil on: the same tokens and voxels for everyone, and latents nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from backend.models.image_encoder import ImageEncoder
from backend.training.distillation.picture_folder import (
    ATTEMPTS,
    STRUCTURES,
    PictureSet,
    StructureStudent,
    Students,
    pictures_in,
    problems,
    require_students,
)


class Encoder(nn.Module):
    """Four tokens: the mean colours of the quarters of a picture."""

    side = 8

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, pixels: Tensor) -> Tensor:
        quarters = nn.functional.avg_pool2d(pixels * self.scale, 4)
        return quarters.flatten(2).transpose(1, 2)


class Structures:
    """Voxels whose number and places depend on the seed alone. ``empty`` says which attempts give none."""

    name = "a structure student"

    def __init__(self, empty: range = range(0)) -> None:
        self.empty, self.asked = empty, list[int]()

    def voxels(self, tokens: Tensor, seed: int, resolution: int) -> Tensor:
        assert tokens.shape == (1, 4, 3)
        self.asked.append(seed)
        if len(self.asked) - 1 in self.empty:
            return torch.zeros(0, 3, dtype=torch.int16)
        cells = torch.randperm(resolution**3, generator=torch.Generator().manual_seed(seed))[: 3 + seed % 5]
        return torch.stack([cells // 64, cells // 8 % 8, cells % 8], 1).short()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        image = Image.new("RGBA", (32, 32))
        image.paste((200, 60 * number, 50, 255), (8, 4, 20, 30))
        image.save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def pictures(folder: Path, structure: Structures | None = None) -> PictureSet:
    encoder, students = cast(ImageEncoder, Encoder()), Students(cast("StructureStudent | None", structure))
    return PictureSet(pictures_in(folder), encoder, 2, 8, students)


def test_structures_need_tokens_alone(folder: Path) -> None:
    found = pictures(folder)
    item = found.draw(torch.Generator().manual_seed(0))
    assert item == found.draw(torch.Generator().manual_seed(0))
    assert found.shape(item) == (2, 8, 8, 8)
    clean = found.load([(0, 0), (2, 0)], torch.device("cpu"))
    assert clean.x_0.shape == (2, 2, 8, 8, 8)
    assert clean.x_0.isnan().all()
    assert clean.coords is None
    assert not torch.equal(clean.cond[0], clean.cond[1])
    alone = found.load([(2, 0)], torch.device("cpu"))
    assert torch.equal(alone.cond[0], clean.cond[1])  # whatever it is loaded with


def test_latents_lie_on_the_voxels_of_a_student(folder: Path) -> None:
    structures = Structures()
    found = pictures(folder, structures)
    clean = found.load([(1, 2), (0, 1)], torch.device("cpu"))
    assert clean.coords is not None
    counts = [found.shape(item)[0] for item in ((1, 2), (0, 1))]
    assert torch.bincount(clean.coords[:, 0]).tolist() == counts
    assert clean.x_0.shape == (sum(counts), 2)
    assert clean.samples.count == 2
    assert len(structures.asked) == 2  # each structure is made once
    again = pictures(folder, Structures()).load([(0, 1)], torch.device("cpu"))
    assert again.coords is not None
    assert torch.equal(again.coords[:, 1:], clean.coords[clean.coords[:, 0] == 1][:, 1:])
    seeds = {(p * ATTEMPTS + a) * STRUCTURES + n for p in range(3) for a in range(ATTEMPTS) for n in range(STRUCTURES)}
    assert len(seeds) == 3 * ATTEMPTS * STRUCTURES  # no two structures are the same


def test_a_structure_that_cannot_be_used_is_made_again(folder: Path) -> None:
    found = pictures(folder, structures := Structures(range(ATTEMPTS - 1)))
    assert found.shape((0, 0))[0] > 0
    assert len(structures.asked) == ATTEMPTS
    with pytest.raises(ValueError, match=r"1\.png: a structure student makes no structure of it"):
        pictures(folder, Structures(range(ATTEMPTS))).shape((1, 0))


def test_what_is_wrong_with_a_folder_is_said(folder: Path, tmp_path: Path) -> None:
    assert list(problems(folder)) == []
    Image.new("RGB", (8, 8)).save(folder / "opaque.png")
    assert [line.split(" has ")[1].split(" (")[0] for line in problems(folder)] == ["no transparency"]
    (tmp_path / "none").mkdir()
    assert "has no pictures" in next(problems(tmp_path / "none"))
    with pytest.raises(ValueError, match="need a structure student: distil the structure first"):
        require_students("latents", None)
    with pytest.raises(ValueError, match="need students of the structure and of the latents: distil the structure and"):
        require_students("textures", None)
