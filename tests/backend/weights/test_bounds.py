"""Model folders that would cost far more than they weigh are refused in words, in little memory and time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from backend.config import PipelineConfig, read_json
from backend.errors import CheckpointError, StoreError
from backend.pipeline import Pipeline
from backend.store import download
from backend.store.catalog import LOCK_NAME, PUBLISHED, HashLock
from backend.weights.checkpoints import build_network
from backend.weights.folders import ModelFolder
from backend.weights.safetensors_file import SafetensorsFile, safetensors_at
from tests.fakes.tiny_model import write_tiny_model

CPU = torch.device("cpu")
MOST_SECONDS = 5.0  # an idle machine needs a tenth of one


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


NAMES = ("image_encoder", "structure_flow", "structure_decoder", "latent_flow", "mesh_decoder")
HUGE = (10**4, 10**6, 10**12, 10**30, float("inf"))


def described(model: Path, name: str, **changes: Any) -> None:
    file = model / "ckpts" / f"{name}.json"
    values = json.loads(file.read_text())
    values["args"] |= changes
    file.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("image_encoder", "depth"),
        ("structure_flow", "num_blocks"),
        ("structure_decoder", "num_res_blocks"),
        ("structure_decoder", "num_res_blocks_middle"),
        ("latent_flow", "num_io_res_blocks"),
        ("mesh_decoder", "num_blocks"),
        ("structure_flow", "resolution"),
    ],
)
def test_numbers_of_layers_are_refused_before_anything_is_built(model: Path, name: str, key: str) -> None:
    for value in HUGE:
        described(model, name, **{key: value})
        start = time.monotonic()
        with pytest.raises(CheckpointError, match=key):
            Pipeline.load(ModelFolder.read(model), CPU)
        assert time.monotonic() - start < MOST_SECONDS


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_a_description_may_be_huge(model: Path, name: str) -> None:
    numbers = [key for key, value in _args(model, name).items() if type(value) in (int, float)]
    assert numbers
    original = (model / "ckpts" / f"{name}.json").read_text()
    for key in numbers:
        for value in HUGE[1:]:
            described(model, name, **{key: value})
            start = time.monotonic()
            with pytest.raises(CheckpointError, match=key):
                Pipeline.load(ModelFolder.read(model), CPU)
            assert time.monotonic() - start < MOST_SECONDS
            (model / "ckpts" / f"{name}.json").write_text(original)


def _args(model: Path, name: str) -> dict[str, Any]:
    args: dict[str, Any] = json.loads((model / "ckpts" / f"{name}.json").read_text())["args"]
    return args


@pytest.mark.parametrize("channels", [[8] * 100_000, [[8]], [10**9, 8], [{"a": 1}]])
def test_lists_of_a_description_are_short(model: Path, channels: list[Any]) -> None:
    described(model, "structure_decoder", channels=channels)
    with pytest.raises(CheckpointError, match="channels"):
        Pipeline.load(ModelFolder.read(model), CPU)


@pytest.mark.parametrize(
    "value", [None, True, -1, 0, 2**63, 1e308, float("nan"), "", "x", [], [[]], {}, [0], {"a": {}}], ids=repr
)
def test_whatever_a_description_holds_it_is_built_or_refused_in_words(model: Path, value: object) -> None:
    from torch import nn

    for file in sorted((model / "ckpts").glob("*.json")):
        described = json.loads(file.read_text())
        for key in described["args"]:
            file.write_text(json.dumps(described | {"args": described["args"] | {key: value}}))
            with contextlib.suppress(CheckpointError):
                build_network(file, nn.Module, half=True)
        file.write_text(json.dumps(described))


def test_what_is_published_is_within_the_bounds() -> None:
    from torch import nn

    from backend.config import DESCRIPTIONS

    files = [file for file in DESCRIPTIONS.rglob("*.json") if file.name != "pipeline.json"]
    assert len(files) == 18
    for file in files:
        build_network(file, nn.Module, half=True)


# --- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, " " * (2 << 20) + "{}", '{"a": ' + "9" * 100_000 + "}", "\ufeff{}", "3"]
)
def test_json_of_a_model_is_bounded_in_size_and_depth(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, "utf-8")
    with pytest.raises(CheckpointError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", [[], {}, None, 3, ["FlowEulerSampler"]])
@pytest.mark.parametrize("sampler", ["sparse_structure_sampler", "slat_sampler"])
def test_a_samplers_name_may_be_anything(model: Path, name: object, sampler: str) -> None:
    values = json.loads((model / "pipeline.json").read_text())
    values["args"][sampler]["name"] = name
    (model / "pipeline.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"{sampler}.name"):
        PipelineConfig.read(model)


def test_statistics_have_as_many_numbers_as_latents_can_have(model: Path) -> None:
    values = json.loads((model / "pipeline.json").read_text())
    values["args"]["slat_normalization"] = {"mean": [0.0] * 5000, "std": [1.0] * 5000}
    (model / "pipeline.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="std"):
        PipelineConfig.read(model)


# --- checkpoints ----------------------------------------------------------------------------------------------------


def packed(path: Path) -> None:
    """A pickle of 512 MB of nothing, packed to half a megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as stream:
            for _ in range(128):
                stream.write(bytes(1 << 22))
        archive.writestr("archive/version", "3\n")


def long_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * (5 << 20) + b"N.")
        archive.writestr("archive/version", "3\n")


def expanded(*shape: int, zipped: bool = True) -> Callable[[Path], None]:
    return lambda path: torch.save({"w": torch.zeros(1).expand(*shape)}, path, _use_new_zipfile_serialization=zipped)


def legacy_number(path: Path) -> None:
    """As torch wrote files before 1.6, with a number of weights that the file cannot have."""
    stream = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, stream, _use_new_zipfile_serialization=False)
    content = stream.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00cpu", 1)
    place = content.index(b"cpu")
    path.write_bytes(content.replace(content[place : place + 8], content[place : place + 5] + b"J\xff\xff\xff\x7f", 1))


@pytest.mark.parametrize(
    "make",
    [
        packed,
        long_pickle,
        expanded(1 << 30),
        expanded(1 << 15, 1 << 15),
        expanded(1 << 12, 1 << 12, 1 << 12),
        expanded(1 << 30, zipped=False),
        expanded(1 << 15, 1 << 15, zipped=False),
        legacy_number,
    ],
    ids=["packed", "long", "expanded", "expanded 2", "expanded 3", "old expanded", "old expanded 2", "old number"],
)
def test_a_checkpoint_that_asks_for_gigabytes_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    import resource

    make(tmp_path / "a.pt")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(CheckpointError, match=r"a\.pt") as caught:
        safetensors_at(tmp_path / "a")
    assert caught.value.hint
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KB
    assert time.monotonic() - start < 4 * MOST_SECONDS
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_weights_that_share_memory_are_no_bomb(tmp_path: Path) -> None:
    tensor = torch.randn(300, 300)
    torch.save({"a": tensor, "tied": tensor, "part": tensor[:20]}, tmp_path / "a.pt")
    assert safetensors_at(tmp_path / "a").stat().st_size > 2 * tensor.numel() * 4


@pytest.mark.parametrize(
    "shape",
    [[1] * 100_000, [10**4000] * 4, [1 << 62, 1 << 62], [-1], [True]],
    ids=["axes", "digits", "long", "less", "yes"],
)
def test_shapes_of_safetensors_are_bounded(tmp_path: Path, shape: list[int]) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    start = time.monotonic()
    with pytest.raises(CheckpointError, match="damaged"):
        SafetensorsFile(tmp_path / "a.safetensors")
    assert time.monotonic() - start < MOST_SECONDS


def test_a_header_has_some_megabytes_at_most(tmp_path: Path) -> None:
    header = b'{"__metadata__": {' + b" " * (9 << 20) + b"}}"
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="header"):
        SafetensorsFile(tmp_path / "a.safetensors")


def test_a_checkpoint_that_is_damaged_anywhere_is_refused_in_words(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(30)}, tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    end = content.rindex(b"PK\x01\x02")  # in the directory at the end: offsets, sizes, names
    for place in [*range(end, len(content), 3), *range(0, end, 97)]:
        changed = bytearray(content)
        changed[place : place + 4] = b"\xff\xff\xff\x7f"
        (tmp_path / "a.pt").write_bytes(changed)
        (tmp_path / "a.safetensors").unlink(missing_ok=True)
        with contextlib.suppress(CheckpointError):  # the change may do no harm
            safetensors_at(tmp_path / "a")


def test_a_pickle_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": 10**12}))
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        safetensors_at(tmp_path / "a")


# --- locks ----------------------------------------------------------------------------------------------------------

OUTSIDE = (
    "../victim",
    "../../victim",
    "/victim",
    "a/../../victim",
    "a//b",
    "./victim",
    "C:victim",
    "a\\..\\victim",
    "",
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_lock_that_names_files_elsewhere_is_none(tmp_path: Path, path: str) -> None:
    lock = {"repository": "x", "revision": None, "files": {path: {"size": 9, "sha256": "00"}}}
    (tmp_path / LOCK_NAME).write_text(json.dumps(lock))
    assert HashLock.read(tmp_path) is None


def test_verify_deletes_nothing_outside_of_the_models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path / "models"))
    model = PUBLISHED["dinov2-vitl14-reg"]
    folder, victim = tmp_path / "models" / model.name, tmp_path / "elsewhere" / "victim"
    folder.mkdir(parents=True)
    victim.parent.mkdir()
    victim.write_text("precious")
    (folder / "linked").symlink_to(victim.parent)
    (folder / "own").write_text("changed")
    for path in (*OUTSIDE, str(victim), os.path.relpath(victim, folder), "linked/victim", "own"):
        lock = {"repository": "x", "revision": None, "files": {path: {"size": 9, "sha256": "00"}}}
        (folder / LOCK_NAME).write_text(json.dumps(lock))
        with pytest.raises(StoreError):
            download.verify_model(model, lambda report: None)
        assert victim.read_text() == "precious"
    assert not (folder / "own").exists(), "its own file is deleted as before"


def test_a_lock_of_any_content_is_none(tmp_path: Path) -> None:
    for content in ("[" * 100_000, "[]", '{"files": []}', '{"files": {"a": 3}}', " " * (2 << 20), "\0"):
        (tmp_path / LOCK_NAME).write_text(content)
        assert HashLock.read(tmp_path) is None


def test_the_weights_of_a_tiny_model_are_still_read(model: Path) -> None:
    state = {"a": torch.ones(3)}
    save_file(state, model / "a.safetensors")
    with SafetensorsFile(model / "a.safetensors") as stored:
        assert stored.tensors["a"].shape == (3,)
    Pipeline.load(ModelFolder.read(model), CPU)
