"""Models are got whole and verified, or not at all, from a hub that does what networks do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.errors import StoreError, describe
from backend.protocol import Transfer
from backend.store import transfer
from backend.store.catalog import PUBLISHED, HashLock, PublishedFile, PublishedModel, find_model, installed_lock
from backend.store.download import download_model, missing_models, partial_folder
from backend.store.hub import Hub
from tests.fakes.hub import COMMIT, FakeHub, Fault, git_sha1, serve_hub

WEIGHTS = bytes(range(256)) * 1000
MODEL = PublishedModel(
    name="tiny",
    title="Tiny",
    repository="some/tiny",
    revision="main",
    licence="MIT",
    size=256_100,
    files=(PublishedFile("pipeline.json"), PublishedFile("ckpts/flow.safetensors", 256_000)),
)
FILES = {"pipeline.json": b'{"args": {}}', "ckpts/flow.safetensors": WEIGHTS, "README.md": b"not needed"}


@pytest.fixture(scope="module")
def no_settings() -> Iterator[None]:
    """Nothing of this machine's settings plays a part."""
    from huggingface_hub.utils import close_session

    with pytest.MonkeyPatch.context() as patch:
        for name in (*os.environ,):
            if name.startswith(("HF_", "HUGGINGFACE_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        close_session()
        yield
    close_session()


@pytest.fixture
def hub(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that has the tiny model. Waiting takes no time."""
    monkeypatch.setitem(PUBLISHED, "tiny", MODEL)
    monkeypatch.setattr(transfer, "WAITS", (0.0, 0.0, 0.0, 0.0))
    with serve_hub() as server:
        server.repositories["some/tiny"] = dict(FILES)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def ignore(progress: Transfer) -> None:
    """What is told of progress, where a test does not look at it."""


def refused(model: PublishedModel = MODEL) -> StoreError:
    """What goes wrong with an installation, after which the model is not installed."""
    with pytest.raises(StoreError) as caught:
        download_model(model, Hub(), ignore)
    assert installed_lock(model) is None
    with pytest.raises(Exception, match="not installed"):
        find_model("tiny")
    assert str(caught.value).endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value


def parts(folder: Path) -> dict[str, int]:
    """Sizes of the files on their way, by the first part of their names."""
    found = (folder / ".partial" / "tiny").rglob("*.part")
    return {path.name.partition(".")[0]: path.stat().st_size for path in found}


# --- what goes well --------------------------------------------------------------------------------------------------


def test_a_model_is_installed_with_the_files_that_it_needs(hub: FakeHub, folder: Path) -> None:
    told: list[Transfer] = []
    assert download_model(MODEL, Hub(), told.append) == folder / "tiny" == find_model("tiny")
    assert (folder / "tiny" / "ckpts" / "flow.safetensors").read_bytes() == WEIGHTS
    names = {path.relative_to(folder / "tiny").as_posix() for path in (folder / "tiny").rglob("*") if path.is_file()}
    assert names == {"pipeline.json", "ckpts/flow.safetensors", "models.lock.json"}
    lock = HashLock.read(folder / "tiny")
    assert lock is not None
    assert (lock.repository, lock.revision) == ("some/tiny", COMMIT)
    for name, file in lock.files.items():
        assert (file.size, file.sha256) == (len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest())
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1] == Transfer("tiny", "verify", "ckpts/flow.safetensors", told[-1].total, 256_012)


def test_nothing_else_is_asked_of_the_hub(hub: FakeHub, folder: Path) -> None:
    download_model(MODEL, Hub(), ignore)
    assert {(one.method, one.path) for one in hub.asked} == {
        ("GET", "/api/models/some/tiny/revision/main"),
        ("GET", f"/some/tiny/resolve/{COMMIT}/pipeline.json"),
        ("GET", f"/some/tiny/resolve/{COMMIT}/ckpts/flow.safetensors"),
    }
    before = len(hub.asked)
    download_model(MODEL, Hub(), ignore)
    assert len(hub.asked) == before  # it is there


def test_the_library_itself_takes_the_imitation_for_a_hub(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants, hf_hub_download

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    for name in ("pipeline.json", "ckpts/flow.safetensors"):
        path = hf_hub_download("some/tiny", name, endpoint=hub.url, local_dir=tmp_path, token=False)
        assert Path(path).read_bytes() == FILES[name]
    assert {one.method for one in hub.asked} == {"GET", "HEAD"}


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: FakeHub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind = tmp_path / "token"
    left_behind.write_text("hf_of_another_program")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(left_behind))
    download_model(MODEL, Hub(), ignore)
    assert {one.token for one in hub.asked} == {None}
    shutil.rmtree(folder)
    hub.asked.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download_model(MODEL, Hub(), ignore)
    assert {(one.large, one.token) for one in hub.asked} == {(False, "Bearer hf_secret"), (True, None)}


def test_what_a_model_needs_comes_first(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = replace(MODEL, name="student", needs=("tiny",))
    monkeypatch.setitem(PUBLISHED, "student", student)
    assert missing_models("student") == [MODEL, student]
    download_model(MODEL, Hub(), ignore)
    assert missing_models("student") == [student]
    download_model(student, Hub(), ignore)
    assert missing_models("student") == []


# --- connections that break ------------------------------------------------------------------------------------------


def test_a_broken_connection_is_resumed(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", times=2, cut=100_000)]
    download_model(MODEL, Hub(), ignore)
    ranges = [asked for name, asked in hub.downloads() if name == "flow.safetensors"]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_connection_that_breaks_often_but_brings_something_gets_there(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", cut=20_000)]
    download_model(MODEL, Hub(), ignore)
    assert len(hub.downloads()) == 1 + 13 > len(transfer.WAITS)


def test_tries_without_a_byte_are_bounded_and_the_next_run_resumes(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", times=1, cut=70_000), Fault("flow.safetensors", cut=0)]
    error = refused()
    assert error.code == "connection_broken"
    assert parts(folder) == {"flow": 70_000}
    assert len(hub.downloads()) == 2 + len(transfer.WAITS)
    hub.faults.clear()
    hub.asked.clear()
    told: list[Transfer] = []
    download_model(MODEL, Hub(), told.append)
    assert hub.downloads() == [("flow.safetensors", "bytes=70000-")]
    assert not (folder / ".partial" / "tiny").exists()


def test_an_interrupted_download_is_resumed(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", pause=0.0001)]

    def interrupt(progress: Transfer) -> None:
        if progress.done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_model(MODEL, Hub(), interrupt)
    assert installed_lock(MODEL) is None
    arrived = parts(folder)["flow"]
    assert 100_000 < arrived + 12 < 256_000
    hub.asked.clear()
    download_model(MODEL, Hub(), ignore)
    assert hub.downloads() == [("flow.safetensors", f"bytes={arrived}-")]


def test_a_server_that_cannot_resume_sends_the_file_again(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", times=1, cut=70_000), Fault("flow.safetensors", no_ranges=True)]
    download_model(MODEL, Hub(), ignore)
    assert (folder / "tiny" / "ckpts" / "flow.safetensors").read_bytes() == WEIGHTS


def test_a_connection_without_a_sign_of_life_counts_as_broken(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.1)
    hub.faults = [Fault("flow.safetensors", times=1, pause=0.3)]
    download_model(MODEL, Hub(), ignore)
    assert hub.downloads()[1:] == [("flow.safetensors", None), ("flow.safetensors", "bytes=1024-")]


def test_no_network(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refused()
    assert error.code == "no_network"
    assert "--from" in error.hint


def test_offline_by_choice(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refused().code == "no_network"
    assert hub.asked == []


@pytest.mark.parametrize("address", ["huggingface.co", "ftp://127.0.0.1", "https://"])
def test_an_endpoint_that_is_no_address(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(StoreError) as caught:
        Hub()
    assert caught.value.code == "endpoint_invalid"


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["revision/main", "flow.safetensors"])
@pytest.mark.parametrize(
    ("status", "headers", "code", "words"),
    [
        (401, {}, "token_missing", "HF_TOKEN"),
        (401, {"X-Error-Code": "GatedRepo"}, "access_denied", "license"),
        (403, {}, "access_denied", "license"),
        (404, {"X-Error-Code": "RepoNotFound"}, "not_found", "newer Espalier"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "not_found", "newer Espalier"),
        (418, {}, "hub_failed", "later"),
        (429, {"Retry-After": "3600"}, "rate_limited", "3600 seconds"),
        (429, {"RateLimit": '"api";r=0;t=120'}, "rate_limited", "120 seconds"),
        (429, {}, "rate_limited", "later"),
        (500, {}, "hub_failed", "later"),
        (503, {}, "hub_failed", "later"),
    ],
)
def test_a_refusal_says_what_to_do(
    hub: FakeHub, folder: Path, path: str, status: int, headers: dict[str, str], code: str, words: str
) -> None:
    hub.faults = [Fault(path, status=status, headers=headers)]
    error = refused()
    assert error.code == code
    assert words in error.hint


@pytest.mark.parametrize(("status", "code"), [(401, "token_missing"), (403, "access_denied")])
def test_a_refusal_of_a_gated_model_says_where_copies_are(hub: FakeHub, folder: Path, status: int, code: str) -> None:
    hub.faults = [Fault("revision/main", status=status)]
    gated = replace(MODEL, copies=("someone/copy",))
    error = refused(gated)
    assert error.code == code
    for words in (gated.page, "HF_TOKEN", "someone/copy", "--from"):
        assert words in error.hint


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_storage_server_that_is_blocked_is_named(hub: FakeHub, folder: Path, status: int) -> None:
    hub.faults = [Fault("flow.safetensors", status=status, at_storage=True)]
    error = refused()
    assert error.code == "storage_refused"
    assert "127.0.0.1" in str(error)


def test_a_token_that_is_not_accepted(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    hub.faults = [Fault("revision/main", status=401)]
    assert refused().code == "token_refused"


@pytest.mark.parametrize(
    "fault", [Fault("", status=429, headers={"Retry-After": "0"}), Fault("", status=500), Fault("", status=503)]
)
def test_faults_that_pass_are_waited_out(hub: FakeHub, folder: Path, fault: Fault) -> None:
    hub.faults = [replace(fault, path=path, times=2) for path in ("revision/main", "pipeline.json", "flow.safetensors")]
    download_model(MODEL, Hub(), ignore)
    assert all(fault.times == 0 for fault in hub.faults)


def test_the_hub_is_waited_for_as_long_as_it_asks(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waited.append)
    hub.faults = [Fault("revision/main", times=1, status=429, headers={"Retry-After": "17"})]
    download_model(MODEL, Hub(), ignore)
    assert waited == [17.0]


def test_a_repository_without_one_of_the_files(hub: FakeHub, folder: Path) -> None:
    del hub.repositories["some/tiny"]["ckpts/flow.safetensors"]
    error = refused()
    assert error.code == "not_found"
    assert "ckpts/flow.safetensors" in str(error)


def test_a_login_page_in_place_of_the_hub(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("revision/main", html=True)]
    error = refused()
    assert error.code == "hub_failed"
    assert "login page" in error.hint


@pytest.mark.parametrize("name", [[1], {}, {"a": 1}, 3])
@pytest.mark.parametrize("at", ["sha", "rfilename"])
def test_an_answer_whose_names_are_no_texts(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch, at: str, name: object
) -> None:
    asked = Hub()
    info = asked._api.model_info("some/tiny", files_metadata=True)
    assert info.siblings
    setattr(info if at == "sha" else info.siblings[0], at, name)
    monkeypatch.setattr(asked._api, "model_info", lambda *arguments, **options: info)
    with pytest.raises(StoreError, match="is not a hub's") as raised:
        asked.offer(MODEL)
    assert raised.value.code == "hub_failed"


# --- files that are not what they should be --------------------------------------------------------------------------


def test_a_wrong_hash_is_deleted_and_never_used(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", times=1, content=WEIGHTS[:-1] + b"?")]
    assert refused().code == "hash_wrong"
    assert not any(path.name.startswith("flow") for path in folder.rglob("*"))
    download_model(MODEL, Hub(), ignore)


def test_a_wrong_hash_of_a_small_file(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("pipeline.json", times=1, content=b'{"args": []}')]
    assert refused().code == "hash_wrong"
    assert not any(path.name.startswith("pipeline") for path in folder.rglob("*"))


@pytest.mark.parametrize("listed", [200_000, 300_000])
def test_a_hub_that_lies_about_a_size(hub: FakeHub, folder: Path, listed: int) -> None:
    hub.listed_sizes["flow.safetensors"] = listed
    hub.listed_sizes["ckpts/flow.safetensors"] = listed
    unpinned = replace(MODEL, files=(MODEL.files[0], PublishedFile("ckpts/flow.safetensors")))
    assert refused(unpinned).code == "size_wrong"
    assert parts(folder) == {}


def test_a_hub_that_offers_another_file_than_the_catalogue_knows(hub: FakeHub, folder: Path) -> None:
    size = replace(MODEL, files=(PublishedFile("pipeline.json"), PublishedFile("ckpts/flow.safetensors", 1000)))
    assert refused(size).code == "size_wrong"
    pinned = PublishedFile("ckpts/flow.safetensors", 256_000, "0" * 64)
    assert refused(replace(MODEL, files=(MODEL.files[0], pinned))).code == "hash_wrong"
    assert hub.downloads() == []


def test_bytes_of_an_older_version_are_not_completed_with_a_newer_one(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", times=1, cut=70_000), Fault("flow.safetensors", cut=0)]
    refused()
    hub.faults.clear()
    newer = WEIGHTS[::-1]
    hub.repositories["some/tiny"]["ckpts/flow.safetensors"] = newer
    download_model(MODEL, Hub(), ignore)
    assert (folder / "tiny" / "ckpts" / "flow.safetensors").read_bytes() == newer
    assert not list(folder.rglob("*.part"))


def test_a_damaged_model_is_repaired_with_what_is_missing(hub: FakeHub, folder: Path) -> None:
    download_model(MODEL, Hub(), ignore)
    (folder / "tiny" / "ckpts" / "flow.safetensors").write_bytes(b"cut")
    assert installed_lock(MODEL) is None
    hub.asked.clear()
    download_model(MODEL, Hub(), ignore)
    assert hub.downloads() == [("flow.safetensors", None)]
    assert installed_lock(MODEL) is not None


# --- this machine ----------------------------------------------------------------------------------------------------


def test_too_little_space_is_said_before_anything_is_fetched(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 2**28))
    error = refused()
    assert error.code == "disk_full"
    assert "0.27 GB are free" in str(error)
    assert hub.downloads() == []


def test_a_disk_that_fills_up_keeps_what_has_arrived(hub: FakeHub, folder: Path) -> None:
    class FullDisk(Hub):
        def bring(self, model: Any, revision: Any, file: Any, part: Path, on_bytes: Any) -> None:
            part.write_bytes(WEIGHTS[:1000])
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        download_model(MODEL, FullDisk(), ignore)
    assert describe(caught.value)[0] == "disk_full"
    assert parts(folder) == {"pipeline": 1000}


def test_a_folder_that_cannot_be_written_to(hub: FakeHub, folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    error = refused()
    assert (error.code, error.args[0]) == ("folder_missing", f"The file {folder} lies where a folder should be.")
    assert "--models-folder" in error.hint


def test_one_process_at_a_time(hub: FakeHub, folder: Path) -> None:
    from filelock import FileLock

    partial_folder(MODEL).parent.mkdir(parents=True)
    with FileLock(folder / ".partial" / "tiny.lock"):
        assert refused().code == "busy"
        assert hub.asked == []
    download_model(MODEL, Hub(), ignore)


def test_a_folder_of_the_same_name_is_not_overwritten(hub: FakeHub, folder: Path) -> None:
    hub.faults = [Fault("flow.safetensors", cut=0)]
    refused()
    (folder / "tiny").mkdir()
    (folder / "tiny" / "notes.txt").write_text("mine")
    hub.faults.clear()
    assert refused().code == "folder_in_the_way"
    assert (folder / "tiny" / "notes.txt").read_text() == "mine"


def test_git_hashes_are_git_s() -> None:
    assert git_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert json.loads(FILES["pipeline.json"]) == {"args": {}}
