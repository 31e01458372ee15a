"""Which models there are, and where a name leads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backend.config import PRETRAINED
from backend.errors import CheckpointError
from backend.protocol import models_folder
from backend.store import catalog
from backend.store.catalog import CARDS, PUBLISHED, HashLock, LockedFile, find_model, installed_lock, own_models
from backend.store.download import missing_models


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path))
    return tmp_path


def put(folder: Path, name: str) -> Path:
    """As if a published model had been installed, with one byte in each file."""
    model = PUBLISHED[name]
    for file in model.files:
        (folder / name / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / file.path).write_bytes(b"x")
    HashLock(model.repository, None, {file.path: LockedFile(1, "") for file in model.files}).write(folder / name)
    return folder / name


@pytest.mark.parametrize("model", PUBLISHED.values(), ids=lambda model: model.name)
def test_the_table_makes_sense(model: catalog.PublishedModel) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repository)
    assert model.revision == "main" or re.fullmatch(r"[0-9a-f]{40}", model.revision)
    assert model.licence
    assert len({file.path for file in model.files}) == len(model.files)
    assert not any(Path(file.path).is_absolute() or ".." in file.path for file in model.files)
    assert all(need in PUBLISHED for need in model.needs)
    known = sum(file.size for file in model.files if file.size)
    assert known <= model.size
    if known:
        assert known > 0.99 * model.size


def test_a_model_that_asks_for_an_account_says_how_to_get_it() -> None:
    encoder = PUBLISHED["dinov3-vitl16"]
    assert encoder.page in encoder.access
    for words in ("HF_TOKEN", "https://huggingface.co/settings/tokens", "model.safetensors", "--from", *encoder.copies):
        assert words in encoder.access
    assert [model.name for model in PUBLISHED.values() if model.access] == [encoder.name]


def test_what_fits_on_a_card_is_said() -> None:
    coarse, fine = PUBLISHED["trellis2-4b"], PUBLISHED["trellis2-4b-fine"]
    assert [coarse.fit(card) for card in (2, *CARDS)] == [
        "too small",
        "512 with low memory",
        "512 with low memory",
        "512",
    ]
    assert [fine.fit(card) for card in CARDS] == [
        "1024 with low memory",
        "1024 with low memory",
        "1024, 1536",
    ]


def test_nobody_is_sent_to_weights_that_may_not_be_sold() -> None:
    assert not any("RMBG" in f"{model}" for model in PUBLISHED.values())


def test_the_second_family_needs_its_encoder_and_the_other_repositorys_decoder(folder: Path) -> None:
    found = [model.name for model in missing_models("trellis2-4b-fine")]
    assert found == ["dinov3-vitl16", "trellis-structure-decoder", "trellis2-4b", "trellis2-4b-fine"]
    assert round(sum(PUBLISHED[name].size for name in found[:3]) / 1e9, 1) == 11.0
    assert find_model(str(put(folder, "dinov3-vitl16").name)) == find_model("dinov3-vitl16-pretrain-lvd1689m")


def test_a_name_leads_nowhere_before_the_model_is_installed(folder: Path) -> None:
    for name in (*PUBLISHED, "dinov2_vitl14_reg"):
        with pytest.raises(CheckpointError) as caught:
            find_model(name)
        assert caught.value.code == "model_missing"
        assert "python -m backend download" in caught.value.hint


def test_names_lead_to_bundled_installed_and_own_models(folder: Path) -> None:
    assert find_model("mini") == PRETRAINED / "mini"
    assert find_model(str(put(folder, "dinov2-vitl14-reg").name)) == folder / "dinov2-vitl14-reg"
    assert find_model("dinov2_vitl14_reg") == folder / "dinov2-vitl14-reg"
    (folder / "mine").mkdir()
    (folder / "mine" / "pipeline.json").write_text("{}")
    assert find_model("mine") == find_model(str(folder / "mine")) == folder / "mine"


def test_an_unknown_name_is_answered_with_those_that_are_known(folder: Path) -> None:
    put(folder, "trellis-image-large")
    for name in ("mine", "mini", "mdt-dist"):  # one's own, one that is bundled, one that is not whole
        (folder / name).mkdir()
        (folder / name / "pipeline.json").write_text("{}")
    assert own_models() == ("mine",)
    with pytest.raises(CheckpointError) as caught:
        find_model("no-such-model")
    assert caught.value.code == "model_unknown"
    assert "(mine, mini, mini-mdt, trellis-image-large)" in caught.value.hint


@pytest.mark.parametrize("lock", ["", "[]", '{"files": 3}', '{"repository": "a/b", "revision": null, "files": {}}'])
def test_a_folder_with_an_invalid_lock_is_not_installed(folder: Path, lock: str) -> None:
    (put(folder, "isnet-general") / "models.lock.json").write_text(lock)
    assert installed_lock(PUBLISHED["isnet-general"]) is None


def test_a_file_that_was_lost_or_cut_uninstalls(folder: Path) -> None:
    file = put(folder, "isnet-general") / "onnx/model.onnx"
    assert installed_lock(PUBLISHED["isnet-general"]) is not None
    file.write_bytes(b"")
    assert installed_lock(PUBLISHED["isnet-general"]) is None
    file.unlink()
    assert installed_lock(PUBLISHED["isnet-general"]) is None


def test_the_lock_is_written_as_documented(tmp_path: Path) -> None:
    lock = HashLock("a/b", "c0ffee", {"ckpts/x.json": LockedFile(3, "ab")})
    lock.write(tmp_path)
    assert json.loads((tmp_path / "models.lock.json").read_text()) == {
        "repository": "a/b",
        "revision": "c0ffee",
        "files": {"ckpts/x.json": {"size": 3, "sha256": "ab"}},
    }
    assert HashLock.read(tmp_path) == lock
    assert [file.name for file in tmp_path.iterdir()] == ["models.lock.json"]


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/espalier/models"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/a/.local/share/espalier/models"),
        ("linux", {}, "/home/a/.local/share/espalier/models"),
        ("darwin", {"XDG_DATA_HOME": "/data"}, "/home/a/Library/Application Support/espalier/models"),
        ("win32", {"LOCALAPPDATA": "/users/a/local"}, "/users/a/local/espalier/models"),
        ("win32", {"ESPALIER_MODELS": "~/m"}, "/home/a/m"),
    ],
)
def test_the_models_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("ESPALIER_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/a"} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert models_folder() == Path(expected)


def test_the_command_line_starts_without_the_libraries_of_a_download() -> None:
    modules = "backend.__main__, backend.store.commands, backend.serving.model_list"
    code = f"import sys, {modules}; print([m for m in sys.modules if m in sys.argv[1:]])"
    heavy = ("huggingface_hub", "httpx2", "filelock", "torch", "numpy")
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
