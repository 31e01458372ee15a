"""Which models there are and which of them can be used: what lies there, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backend.protocol import ModelInfo, ModelList, decode_report
from backend.serving.model_list import list_models, usable_models
from backend.store.catalog import PUBLISHED, HashLock, LockedFile, PublishedModel, find_model
from backend.weights.folders import ModelFolder
from tests.fakes.tiny_model import RESOLUTION, write_tiny_model
from tests.fakes.tiny_trellis2 import write_tiny_trellis2

NETWORKS = {
    "sparse_structure_flow_model": "structure",
    "sparse_structure_decoder": "structure_decoder",
    "slat_flow_model": "latents",
    "slat_decoder_mesh": "mesh_decoder",
}
FLOWS = {key: NETWORKS[key] for key in ("sparse_structure_flow_model", "slat_flow_model")}
SAMPLERS = ("sparse_structure_sampler", "slat_sampler")
BUNDLED = ("mini", "mini-mdt")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path / "models"))
    write_model(tmp_path / "models" / "large")
    return tmp_path / "models"


def write_model(folder: Path, steps: tuple[int, int] = (25, 25), base: str = "", **changes: Any) -> Path:
    """A folder as models are laid out, with empty weights: a whole one, or with a ``base`` an overlay of that."""
    networks = changes.get("networks", NETWORKS)
    args: dict[str, Any] = {
        "models": {key: f"ckpts/{name}" for key, name in networks.items()},
        "image_cond_model": changes.get("encoder", "ckpts/encoder"),
        "slat_normalization": {"mean": [0.0], "std": [1.0]},
    }
    for key, count in zip(SAMPLERS, steps, strict=True):
        args[key] = {"name": "FlowEulerSampler", "args": {"sigma_min": 1e-5}, "params": {"steps": count}}
    if base:
        del args["image_cond_model"], args["slat_normalization"]
    (folder / "ckpts").mkdir(parents=True)
    for name in (*networks.values(), *([] if base else ["encoder"])):
        (folder / "ckpts" / f"{name}.safetensors").touch()
        if not base:
            (folder / "ckpts" / f"{name}.json").write_text("{}")
    if base:
        (folder / "overlay.json").write_text(json.dumps({"base": base}))
    (folder / "pipeline.json").write_text(json.dumps({"args": args}))
    return folder


def as_published(folder: Path) -> Path:
    """A folder with the lock that its installation would have written last."""
    model = PUBLISHED[folder.name]
    for file in model.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).touch()
    sizes = {file.path: LockedFile((folder / file.path).stat().st_size, "") for file in model.files}
    HashLock(model.repository, None, sizes).write(folder)
    return folder


def info(name: str) -> ModelInfo:
    return {model.name: model for model in list_models().models}[name]


def problem(name: str) -> str:
    model = info(name)
    assert not model.usable
    assert (model.steps, model.teacher, model.gaussians, model.stamp) == ((0, 0), "", False, "")
    assert name not in usable_models()
    return model.problem


def test_what_is_bundled_can_be_used(models: Path) -> None:
    teacher, student = map(info, BUNDLED)
    assert (teacher.usable, teacher.state, teacher.steps, teacher.teacher) == (True, "bundled", (25, 25), "")
    assert (student.usable, student.state, student.steps, student.teacher) == (True, "bundled", (2, 2), "mini")
    assert teacher.stamp != student.stamp
    assert find_model("mini") == Path(teacher.folder)


def test_ones_own_models_go_by_their_name(models: Path) -> None:
    write_model(models / "twelve", (12, 25))
    model = info("twelve")
    assert (model.state, model.usable, model.steps, model.published) == ("own", True, (12, 25), False)
    assert usable_models() == ("large", *BUNDLED, "twelve")
    for name in usable_models():
        ModelFolder.find(name).require_whole()


def test_an_overlay_names_its_base(models: Path) -> None:
    write_model(models / "quick", (2, 2), base="large", networks=FLOWS)
    half = {"sparse_structure_flow_model": NETWORKS["sparse_structure_flow_model"]}
    write_model(models / "half", (2, 25), base="../large", networks=half)
    bundled = {"sparse_structure_flow_model": "ss_flow_img_dit", "slat_flow_model": "slat_flow_img_dit"}
    write_model(models / "of-the-bundled", (4, 4), base="mini", networks=bundled)
    assert (info("quick").steps, info("quick").teacher) == ((2, 2), "large")
    assert (info("half").steps, info("half").teacher) == ((2, 25), "large")
    assert info("of-the-bundled").teacher == "mini"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_base_that_is_a_link_goes_by_the_name_that_it_has_in_the_list(models: Path, tmp_path: Path) -> None:
    (models / "large").rename(tmp_path / "elsewhere")
    (models / "large").symlink_to(tmp_path / "elsewhere")
    write_model(models / "quick", (2, 2), base="large", networks=FLOWS)
    assert info("quick").teacher == "large"


def test_gaussians(models: Path) -> None:
    folder = write_model(models / "rich", networks=NETWORKS | {"slat_decoder_gs": "gaussians"})
    assert info("rich").gaussians
    (folder / "ckpts" / "gaussians.safetensors").unlink()
    assert (info("rich").gaussians, info("rich").usable) == (False, True)  # they are wanted, not needed
    assert not info("large").gaussians


@pytest.mark.parametrize("name", [*NETWORKS.values(), "encoder"])
@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_what_lacks_a_network_cannot_be_used(models: Path, name: str, suffix: str) -> None:
    (models / "large" / "ckpts" / f"{name}.{suffix}").unlink()
    assert f"{name}.{suffix} is missing" in problem("large")


def test_pickled_weights_are_weights(models: Path) -> None:
    weights = models / "large" / "ckpts" / "latents.safetensors"
    weights.rename(weights.with_suffix(".pt"))
    assert info("large").usable


def test_an_overlay_whose_base_is_not_whole_cannot_be_used(models: Path) -> None:
    write_model(models / "quick", (2, 2), base="large", networks=FLOWS)
    write_model(models / "orphan", (2, 2), base="gone", networks=FLOWS)
    write_model(models / "twice", (2, 2), base="quick", networks=FLOWS)
    assert info("quick").usable
    assert "no model named 'gone'" in problem("orphan")
    assert "which is an overlay itself" in problem("twice")
    (models / "large" / "ckpts" / "mesh_decoder.safetensors").unlink()
    assert "mesh_decoder" in problem("quick")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[",
        "[]",
        '{"args": 3}',
        "[" * 100_000,
        '{"args": {"models": {}}}',
        '{"args": {"models": {"sparse_structure_flow_model": "../../x"}}}',
        b"\xff",
    ],
)
def test_a_folder_that_makes_no_sense_is_listed_and_not_usable(models: Path, content: str | bytes) -> None:
    (models / "nonsense").mkdir()
    (models / "nonsense" / "pipeline.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert problem("nonsense")
    assert info("large").usable


def test_numbers_that_cannot_be(models: Path) -> None:
    file = models / "large" / "pipeline.json"
    file.write_text(file.read_text().replace('"steps": 25', f'"steps": 1{400 * "0"}'))
    assert problem("large")
    assert usable_models() == BUNDLED


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(models: Path) -> None:
    (models / "large" / "ckpts").chmod(0)
    try:
        assert problem("large")
    finally:
        (models / "large" / "ckpts").chmod(0o755)


def test_folders_that_are_no_models_are_not_listed(models: Path) -> None:
    (models / "notes").mkdir()
    (models / "notes" / "pipeline.txt").touch()
    write_model(models / "mini")  # the bundled one has that name
    names = [model.name for model in list_models().models]
    assert sorted(names) == sorted([*BUNDLED, "large", *PUBLISHED])
    assert info("mini").state == "bundled"


def test_published_models_and_their_encoder(models: Path) -> None:
    large = write_model(models / "trellis-image-large", encoder="dinov2_vitl14_reg")
    assert (info(large.name).state, info(large.name).usable) == ("not installed", False)  # no lock: not verified
    as_published(large)
    student = write_model(models / "mdt-dist", (2, 2), base="any", networks=FLOWS)
    (student / "overlay.json").unlink()  # as it is published: no description of a network, and no word of a base
    as_published(student)
    assert "DINOv2" in problem("mdt-dist")  # its encoder is still to come
    assert "python -m backend download dinov2-vitl14-reg" in problem("trellis-image-large")
    as_published_encoder = as_published(models / "dinov2-vitl14-reg")
    assert (info("mdt-dist").usable, info("mdt-dist").teacher) == (True, "trellis-image-large")
    assert usable_models() == ("large", "mdt-dist", *BUNDLED, "trellis-image-large")
    assert not info(as_published_encoder.name).usable  # it makes nothing by itself
    assert info(as_published_encoder.name).problem == ""
    (large / "models.lock.json").unlink()
    assert problem("trellis-image-large") == ""  # its state says it
    assert info("mdt-dist").state == "installed"


def test_the_stamp_changes_with_the_files_of_a_model_and_of_its_base(models: Path, tmp_path: Path) -> None:
    quick = write_model(models / "quick", (2, 2), base="large", networks=FLOWS)
    seen = [info("quick").stamp]

    def is_another() -> bool:
        seen.append(info("quick").stamp)
        return len(seen[-1]) == 16 and seen[-1] not in seen[:-1]

    os.utime(quick / "ckpts" / "latents.safetensors", ns=(0, 0))
    assert is_another()
    (models / "large" / "ckpts" / "mesh_decoder.safetensors").write_bytes(b"other")
    assert is_another()
    (quick / "ckpts" / "latents.safetensors").unlink()  # the base's is taken then
    assert is_another()
    os.utime(models / "large")
    assert not is_another()
    models.rename(tmp_path / "moved")
    assert usable_models() == BUNDLED
    (tmp_path / "moved").rename(models)
    assert not is_another()


def test_weights_that_loading_converted_do_not_change_the_stamp(models: Path) -> None:
    weights = models / "large" / "ckpts" / "latents.safetensors"
    weights.rename(weights.with_suffix(".pt"))
    before = info("large").stamp
    weights.touch()  # made of the pickle
    weights.with_name("latents.123.part.safetensors").touch()
    assert info("large").stamp == before
    os.utime(weights.with_suffix(".pt"), ns=(0, 0))
    assert info("large").stamp != before


def test_a_process_that_is_asked_answers_without_torch(models: Path) -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['numpy'] = None\n"
    code += "from backend.__main__ import main; main(['models', '--json'])"
    started = time.monotonic()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 20  # an idle machine needs a tenth of a second
    answer = decode_report(run.stdout)
    assert isinstance(answer, ModelList)
    assert answer.models == list_models().models


def test_the_catalogues_models_say_what_they_are(models: Path) -> None:
    model: PublishedModel = PUBLISHED["mdt-dist"]
    entry = info("mdt-dist")
    assert (entry.title, entry.size, entry.source, entry.needs) == (model.title, model.size, model.page, model.needs)
    assert (entry.published, entry.state, entry.present) == (True, "not installed", 0)


def test_what_a_model_makes(models: Path) -> None:
    write_tiny_model(models / "first")
    write_tiny_trellis2(models / "second")
    first, second = info("first"), info("second")
    assert (first.usable, first.materials, first.resolution) == (True, False, 4 * RESOLUTION)
    assert (second.usable, second.materials, second.resolution) == (True, True, 4 * RESOLUTION)
