"""Models are installed from a folder, without a network, with whatever the folder knows of its files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from backend.errors import StoreError
from backend.store.catalog import PUBLISHED, HashLock, PublishedFile, PublishedModel, installed_lock
from backend.store.download import download_model
from backend.store.snapshot import Snapshot
from tests.fakes.hub import git_sha1

COMMIT = "1234567890abcdef1234567890abcdef12345678"
FILES = {"pipeline.json": b"{}", "ckpts/flow.safetensors": b"weights" * 1000}
MODEL = PublishedModel(
    name="tiny",
    title="Tiny",
    repository="some/tiny",
    revision="main",
    licence="MIT",
    size=7000,
    files=(PublishedFile("pipeline.json"), PublishedFile("ckpts/flow.safetensors", 7000)),
)


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(PUBLISHED, "tiny", MODEL)
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """The files, and nothing that says what they should be."""
    for name, content in FILES.items():
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(content)
    return tmp_path / "plain"


def digest(name: str) -> str:
    """What the hub publishes of a file: of large ones the SHA-256."""
    return hashlib.sha256(FILES[name]).hexdigest() if name.startswith("ckpts") else git_sha1(FILES[name])


@pytest.fixture
def downloaded(plain: Path) -> Path:
    """As ``hf download --local-dir`` leaves a folder."""
    for name in FILES:
        noted = plain / ".cache" / "huggingface" / "download" / f"{name}.metadata"
        noted.parent.mkdir(parents=True, exist_ok=True)
        noted.write_text(f"{COMMIT}\n{digest(name)}\n1700000000.0\n")
    return plain


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """As the hub's cache lays a snapshot out: links to files that are called by their hash."""
    cache = tmp_path / "models--some--tiny"
    for name, content in FILES.items():
        blob, link = cache / "blobs" / digest(name), cache / "snapshots" / COMMIT / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(blob)
    return cache / "snapshots" / COMMIT


def installed(folder: Path) -> HashLock:
    download_model(MODEL, Snapshot(folder), lambda progress: None)
    lock = installed_lock(MODEL)
    assert lock is not None
    for name, file in lock.files.items():
        assert file.sha256 == hashlib.sha256(FILES[name]).hexdigest()
    return lock


def refused(folder: Path) -> StoreError:
    with pytest.raises(StoreError) as caught:
        download_model(MODEL, Snapshot(folder), lambda progress: None)
    assert installed_lock(MODEL) is None
    return caught.value


def test_a_plain_folder(plain: Path, models: Path) -> None:
    assert installed(plain).revision is None
    shutil.rmtree(plain)
    assert (models / "tiny" / "ckpts" / "flow.safetensors").read_bytes() == FILES["ckpts/flow.safetensors"]


@pytest.mark.parametrize("folder", ["downloaded", "cached"])
def test_a_folder_that_knows_its_hashes(folder: str, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(folder)
    assert installed(source).revision == COMMIT


@pytest.mark.parametrize("folder", ["downloaded", "cached"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_what_the_folder_noted(folder: str, name: str, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(folder)
    (source / name).write_bytes(FILES[name][::-1])
    assert refused(source).code == "hash_wrong"


def test_a_folder_that_was_installed_elsewhere(plain: Path, models: Path, tmp_path: Path) -> None:
    installed(plain)
    elsewhere = (models / "tiny").rename(tmp_path / "elsewhere")
    installed(elsewhere)
    shutil.rmtree(models / "tiny")
    (elsewhere / "ckpts" / "flow.safetensors").write_bytes(b"WEIGHTS" * 1000)
    assert refused(elsewhere).code == "hash_wrong"


def test_a_hash_of_the_catalogue_counts_too(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = (MODEL.files[0], PublishedFile("ckpts/flow.safetensors", 7000, "0" * 64))
    with pytest.raises(StoreError) as caught:
        download_model(PublishedModel(**{**vars(MODEL), "files": files}), Snapshot(plain), lambda progress: None)
    assert caught.value.code == "hash_wrong"
    assert (plain / "ckpts" / "flow.safetensors").exists()  # the person's own file stays


def test_a_size_that_is_not_the_published_one(plain: Path) -> None:
    (plain / "ckpts" / "flow.safetensors").write_bytes(b"cut")
    assert refused(plain).code == "size_wrong"


def test_a_missing_file_is_named(plain: Path) -> None:
    (plain / "ckpts" / "flow.safetensors").unlink()
    error = refused(plain)
    assert error.code == "files_missing"
    assert "ckpts/flow.safetensors" in str(error)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no folder"):
        Snapshot(tmp_path / "nowhere")


def test_a_folder_that_was_put_in_place_by_hand_is_verified_there(plain: Path, models: Path) -> None:
    models.mkdir()
    shutil.copytree(plain, models / "tiny")
    assert installed_lock(MODEL) is None
    installed(models / "tiny")
