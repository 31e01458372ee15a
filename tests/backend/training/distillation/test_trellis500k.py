"""Data sets in TRELLIS-500K's layout: read as they are, and what is wrong with one is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.config import Normalization
from backend.models.image_encoder import ImageEncoder
from backend.training.distillation.layouts import TRELLIS2
from backend.training.distillation.methods import STAGES, StageName
from backend.training.distillation.trellis500k import Dataset, PublishedLatents, problems

NAMES = ("aaaa", "bbbb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good objects and one below the aesthetic score."""
    rng = np.random.default_rng(0)
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sha256", "aesthetic_score", "num_voxels", "cond_rendered", "ss_latent_enc", "latent_enc"])
        for name in (*NAMES, "ugly"):
            writer.writerow([name, 3.0 if name == "ugly" else 5.0, 30, True, True, True])
    for kind in ("ss_latents", "latents"):
        (tmp_path / kind / "enc").mkdir(parents=True)
    for name in NAMES:
        np.savez(tmp_path / "ss_latents/enc" / f"{name}.npz", mean=rng.normal(size=(8, 16, 16, 16)))
        cells = rng.choice(64**3, 30, replace=False)
        coords = np.stack([cells // 4096, cells // 64 % 64, cells % 64], 1).astype(np.uint8)
        feats = rng.normal(size=(30, 8)).astype(np.float32)
        np.savez(tmp_path / "latents/enc" / f"{name}.npz", coords=coords, feats=feats)
        renders = tmp_path / "renders_cond" / name
        renders.mkdir(parents=True)
        for view in range(2):
            image = np.zeros((40, 40, 4), np.uint8)
            image[10:30, 10:30] = (200, 100, 50 * view, 255)
            Image.fromarray(image).save(renders / f"{view:03}.png")
        frames = [{"file_path": f"{view:03}.png"} for view in range(2)]
        (renders / "transforms.json").write_text(json.dumps({"frames": frames}))
    return tmp_path


def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(img_size=28, patch_size=14, embed_dim=24, depth=1, num_heads=2, num_register_tokens=1)


@pytest.mark.parametrize("stage", ["structure", "latents"])
def test_a_good_data_set(folder: Path, stage: StageName) -> None:
    dataset = Dataset(folder, stage)
    assert list(problems(dataset)) == []
    assert dataset.names() == list(NAMES)
    data = PublishedLatents(dataset, encoder(), Normalization((1.0,) * 8, (2.0,) * 8))
    items = [data.draw(torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert {name for name, _ in items} == set(NAMES)
    assert {view for _, view in items} == {0, 1}
    clean = data.load(items[:3], torch.device("cpu"))
    assert clean.cond.shape == (3, 1 + 1 + 4, 24)
    with np.load(dataset.latents_path(items[0][0])) as stored:
        first = torch.from_numpy(stored["mean" if stage == "structure" else "feats"]).float()
    if stage == "structure":
        torch.testing.assert_close(clean.x_0[0], (first - 1) / 2)
    else:
        assert clean.coords is not None
        torch.testing.assert_close(clean.x_0[clean.coords[:, 0] == 0], (first - 1) / 2)
        assert data.shape(items[0]) == (30, 8)


def rewrite(path: Path, **arrays: np.ndarray) -> None:
    with np.load(path) as file:
        np.savez(path, **({**dict(file), **arrays}))


def outside(folder: Path) -> None:
    rewrite(folder / "latents/enc/aaaa.npz", coords=np.full((30, 3), 64, np.uint8))


def repeated(folder: Path) -> None:
    rewrite(folder / "latents/enc/aaaa.npz", coords=np.zeros((30, 3), np.uint8))


def unlike(folder: Path) -> None:
    rewrite(folder / "latents/enc/aaaa.npz", feats=np.zeros((29, 8), np.float32))


def infinite(folder: Path) -> None:
    rewrite(folder / "latents/enc/aaaa.npz", feats=np.full((30, 8), np.nan, np.float32))


def truncated(folder: Path) -> None:
    path = folder / "latents/enc/aaaa.npz"
    path.write_bytes(path.read_bytes()[:100])


def opaque(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "renders_cond/aaaa/000.png")


def empty(folder: Path) -> None:
    Image.new("RGBA", (8, 8)).save(folder / "renders_cond/aaaa/000.png")


def spoiled_score(folder: Path) -> None:
    path = folder / "metadata.csv"
    path.write_text(path.read_text().replace("aaaa,5.0", "aaaa,good"))


def not_an_archive(folder: Path) -> None:
    with (folder / "latents/enc/aaaa.npz").open("wb") as file:
        np.save(file, np.zeros((30, 8)))


def flipped(folder: Path) -> None:
    """A compressed archive with a byte in the middle changed."""
    path = folder / "latents/enc/aaaa.npz"
    with np.load(path) as file:
        np.savez_compressed(path, **dict(file))
    data = bytearray(path.read_bytes())
    data[120] ^= 255
    path.write_bytes(data)


def garbled(folder: Path) -> None:
    path = folder / "renders_cond/aaaa/000.png"
    path.write_bytes(path.read_bytes()[:60])


#: What is wrong with an object -> how it comes to be.
OBJECTS: dict[str, Callable[[Path], object]] = {
    "voxels outside": outside,
    "more than once": repeated,
    "are not [N, 3]": unlike,
    "not finite": infinite,
    "cannot be read": truncated,
    "no transparency": opaque,
    "shows no object": empty,
    "transforms.json cannot be read": lambda folder: (folder / "renders_cond/aaaa/transforms.json").unlink(),
    "001.png cannot be read": lambda folder: (folder / "renders_cond/aaaa/001.png").unlink(),
    "enc/aaaa.npz cannot be read: No data left": lambda folder: (folder / "latents/enc/aaaa.npz").write_bytes(b""),
    "it is not an .npz archive": not_an_archive,
    "enc/aaaa.npz cannot be read: ": flipped,
    "enc/aaaa.npz lacks feats": lambda folder: np.savez(folder / "latents/enc/aaaa.npz", coords=np.zeros((1, 3))),
    "feats holds <U4, not floating-point": lambda folder: rewrite(
        folder / "latents/enc/aaaa.npz", feats=np.full((30, 8), "many")
    ),
    "coords holds float64, not whole numbers": lambda folder: rewrite(
        folder / "latents/enc/aaaa.npz", coords=np.random.default_rng(0).uniform(0, 63, (30, 3))
    ),
    "000.png cannot be read": garbled,
    "has no pictures": lambda folder: (folder / "renders_cond/aaaa/transforms.json").write_text('{"frames": []}'),
}
#: The same of a data set.
FOLDERS: dict[str, Callable[[Path], object]] = {
    "metadata.csv: aesthetic_score of aaaa is 'good'": spoiled_score,
    "metadata.csv cannot be read": lambda folder: (folder / "metadata.csv").write_bytes(b"\xff\xfe\x00"),
    "should hold one encoder's": lambda folder: (folder / "latents/other").mkdir(),
    "is missing: this is not a data set": lambda folder: (folder / "metadata.csv").unlink(),
    "lacks the columns": lambda folder: (folder / "metadata.csv").write_text("sha256\naaaa\n"),
}
SPOILED = OBJECTS | FOLDERS


@pytest.mark.parametrize("words", SPOILED)
def test_what_is_wrong_is_named(folder: Path, words: str) -> None:
    SPOILED[words](folder)
    found = list(problems(Dataset(folder, "latents")))
    assert len(found) == 1
    assert words in found[0]


def test_structure_latents_of_another_shape(folder: Path) -> None:
    rewrite(folder / "ss_latents/enc/bbbb.npz", mean=np.zeros((8, 8, 8, 8)))
    (problem,) = problems(Dataset(folder, "structure"))
    assert "mean is [8, 8, 8, 8], not [8, 16, 16, 16]" in problem


def test_a_data_set_without_objects(folder: Path) -> None:
    dataset = Dataset(folder, "latents", aesthetic_score=9.0)
    with pytest.raises(ValueError, match="lists no object"):
        PublishedLatents(dataset, encoder(), Normalization((0.0,), (1.0,)))


@pytest.mark.parametrize("words", OBJECTS)
def test_a_bad_file_ends_the_training_in_words(folder: Path, words: str) -> None:
    data = PublishedLatents(Dataset(folder, "latents"), encoder(), Normalization((1.0,) * 8, (2.0,) * 8))
    SPOILED[words](folder)
    with pytest.raises(ValueError, match="aaaa") as raised:
        data.load([("aaaa", view) for view in range(2)], torch.device("cpu"))
    assert words in str(raised.value)


# --- TRELLIS.2's layout ----------------------------------------------------------------------------------------------

ENCODERS = {"ss_latents": ("ss_64",), "shape_latents": ("shape_512", "shape_1024"), "pbr_latents": ("pbr_512",)}


def table(path: Path, columns: str, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([columns, *rows]) + "\n")


@pytest.fixture
def second(folder: Path) -> Path:
    """The same objects as TRELLIS.2's toolkit writes them: a table for each kind of latents."""
    rng = np.random.default_rng(1)
    table(folder / "metadata.csv", "sha256,aesthetic_score", *(f"{name}," for name in (*NAMES, "large")))
    table(folder / "aesthetic_scores/metadata.csv", "sha256,aesthetic_score", *(f"{name},5.0" for name in NAMES))
    table(folder / "renders_cond/metadata.csv", "sha256,cond_rendered", *(f"{name},True" for name in NAMES))
    cells = rng.choice(32**3, 30, replace=False)
    coords = np.stack([cells // 1024, cells // 32 % 32, cells % 32], 1).astype(np.uint8)
    for kind, encoders in ENCODERS.items():
        latent = kind.removesuffix("s")
        for name in encoders:
            rows = [f"{object_},True,{9000 if object_ == 'large' else 30}" for object_ in (*NAMES, "large")]
            table(folder / kind / name / "metadata.csv", f"sha256,{latent}_encoded,{latent}_tokens", *rows)
            for object_ in NAMES:
                arrays = {"coords": coords, "feats": rng.normal(size=(30, 32)).astype(np.float32)}
                if kind == "ss_latents":
                    arrays = {"z": rng.normal(size=(8, 16, 16, 16)).astype(np.float32)}
                np.savez(folder / kind / name / f"{object_}.npz", **arrays)
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_a_good_data_set_of_the_second_family(second: Path, stage: StageName) -> None:
    dataset = Dataset(second, stage, layout=TRELLIS2)
    assert list(problems(dataset)) == []
    assert dataset.names() == list(NAMES)
    assert dataset.model == {"structure": "ss_64", "latents": "shape_512", "textures": "pbr_512"}[stage]
    own, shapes = (Normalization((mean,) * 32, (2.0,) * 32) for mean in (1.0, 3.0))
    statistics = Normalization((0.0,), (1.0,)) if stage == "structure" else own
    data = PublishedLatents(dataset, encoder(), statistics, shapes, tight=True)
    clean = data.load([("aaaa", 0), ("bbbb", 1)], torch.device("cpu"))
    assert (clean.fixed is not None) == (stage == "textures")
    if stage == "structure":
        assert clean.x_0.shape == (2, 8, 16, 16, 16)
        return
    assert clean.x_0.shape == (60, 32)
    with np.load(dataset.latents_path("bbbb")) as stored:
        torch.testing.assert_close(clean.x_0[30:], (torch.from_numpy(stored["feats"]) - 1) / 2)
    if clean.fixed is not None:
        with np.load(second / "shape_latents/shape_512/bbbb.npz") as stored:
            torch.testing.assert_close(clean.fixed[30:], (torch.from_numpy(stored["feats"]) - 3) / 2)


def test_a_texture_on_other_voxels_than_its_shape(second: Path) -> None:
    path = second / "shape_latents/shape_512/aaaa.npz"
    with np.load(path) as stored:
        coords, feats = stored["coords"][::-1].copy(), stored["feats"]
    rewrite(path, coords=coords, feats=feats)
    (found,) = problems(Dataset(second, "textures", layout=TRELLIS2))
    assert "aaaa.npz: its voxels are not those of" in found
    assert list(problems(Dataset(second, "latents", layout=TRELLIS2))) == []
