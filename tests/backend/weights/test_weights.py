"""Files of weights are whole, safe and what was downloaded, or refused with a reason that names them."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from backend.errors import CheckpointError
from backend.files import sha256
from backend.store.catalog import HashLock, LockedFile
from backend.weights.safetensors_file import SafetensorsFile, safetensors_at

Header = dict[str, Any]


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    big = torch.randn(700, 1000, generator=generator)  # more than one buffer
    return {
        "big": big,
        "half": big[:3].half(),
        "brain": big[3:5].bfloat16(),
        "double": big[5].double(),
        "scalar": torch.tensor(2.5),
        "none": torch.empty(1, 0, 4),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_are_read_bit_for_bit_or_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file(weights(), tmp_path / "a.safetensors")
    with SafetensorsFile(tmp_path / "a.safetensors") as stored:
        assert {key: (s.dtype, s.shape) for key, s in stored.tensors.items()} == {
            key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in weights().items()
        }
        for key, tensor in weights().items():
            out = torch.full_like(tensor, 7, dtype=dtype)
            stored.read(key, out)
            assert torch.equal(out, tensor.to(dtype)), key
            assert stored.holds(key, tensor)
            if tensor.numel():
                assert not stored.holds(key, tensor + 1)


# --- headers that lie ------------------------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[Header], object]) -> None:
    """Change a file's header and leave the bytes of its tensors as they are."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def overlap(header: Header) -> None:
    header["b"]["data_offsets"] = header["a"]["data_offsets"]


def leave_a_gap(header: Header) -> None:
    del header["a"]


def run_past_the_end(header: Header) -> None:
    header["b"]["data_offsets"] = [offset + 4 for offset in header["b"]["data_offsets"]]


def claim_more(header: Header) -> None:
    header["b"] = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [16, 16 + (1 << 42)]}


def set_field(name: str, value: object) -> Callable[[Header], None]:
    return lambda header: header["a"].update({name: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (overlap, "b overlaps"),
        (leave_a_gap, "b does not directly follow"),
        (run_past_the_end, "b does not directly follow"),
        (claim_more, "its header describes"),
        (set_field("dtype", "F64"), "a has 16 bytes"),
        (set_field("dtype", "I64"), "a has the type 'I64'"),
        (set_field("dtype", 3), "a has the type 3"),
        (set_field("shape", [5]), "a has 16 bytes"),
        (set_field("shape", [-2, -2]), "a has the shape"),
        (set_field("shape", [True, 4]), "a has the shape"),
        (set_field("shape", "4"), "a has the shape"),
        (set_field("data_offsets", [16, 0]), "a has -16 bytes"),
        (set_field("data_offsets", [-8, 8]), "a has the offsets"),
        (set_field("data_offsets", [0]), "a has the offsets"),
        (set_field("data_offsets", None), "a has the offsets"),
        (lambda header: header.update(a=[]), "entry of a is not an object"),
        (lambda header: header.update(__metadata__=3), "metadata"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, change: Callable[[Header], object], words: str) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(4), "b": torch.ones(4)}, file)
    rewrite(file, change)
    with pytest.raises(CheckpointError, match=words) as caught:
        SafetensorsFile(file)
    assert str(file) in str(caught.value)
    assert "damaged" in str(caught.value)


def with_header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


ENTRY = b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\0\0\0", "no safetensors header"),
        (b"<html>403 Forbidden</html>", "no safetensors header"),
        ((1 << 62).to_bytes(8, "little"), "no safetensors header"),
        (with_header(b"[]"), "not a JSON object"),
        (with_header(b"{]"), "not JSON"),
        (with_header(b"\xff\xfe{}"), "not JSON"),
        (with_header(b"[" * 100_000), "not JSON"),
        (with_header(b"{" + ENTRY + b"}"), "its header describes"),
        (with_header(b"{" + ENTRY + b", " + ENTRY + b"}") + b"\0" * 4, "a key occurs twice"),
        (with_header(b"{}") + b"\0", "its header describes"),
        (pickle.dumps({"a": 1}, protocol=2), "pickle"),
        (pickle.dumps({"a": 1}, protocol=5), "pickle"),
        (b"PK\x03\x04" + b"\0" * 60, "pickle"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        SafetensorsFile(file)
    assert str(file) in str(caught.value)


def test_a_file_cut_short_while_it_is_open_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(1000)}, file)
    with SafetensorsFile(file) as stored:
        os.truncate(file, file.stat().st_size - 10)
        with pytest.raises(CheckpointError, match="ends too early"):
            stored.read("a", torch.empty(1000))


# --- pickles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_state_dict_is_converted_once(tmp_path: Path, suffix: str, zipped: bool) -> None:
    state = weights()
    state["transposed"] = state["big"][:20, :30].T  # not contiguous, and the memory of another
    torch.save(state, tmp_path / f"a{suffix}", _use_new_zipfile_serialization=zipped)
    file = safetensors_at(tmp_path / "a")
    assert file == tmp_path / "a.safetensors"
    converted = load_file(file)
    assert converted.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(converted[key], tensor)
        assert converted[key].dtype == tensor.dtype
    made = file.stat().st_mtime_ns
    assert safetensors_at(tmp_path / "a") == file
    assert file.stat().st_mtime_ns == made
    assert {path.name for path in tmp_path.iterdir()} == {f"a{suffix}", "a.safetensors"}


def test_a_changed_pickle_is_converted_again(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    safetensors_at(tmp_path / "a")
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pt")
    later = time.time_ns() + 10**9
    os.utime(tmp_path / "a.pt", ns=(later, later))
    assert load_file(safetensors_at(tmp_path / "a"))["a"].tolist() == [1, 1, 1]


def test_a_converted_file_needs_its_pickle_no_more(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    file = safetensors_at(tmp_path / "a")
    (tmp_path / "a.pt").unlink()
    assert safetensors_at(tmp_path / "a") == file


def test_published_safetensors_go_before_a_pickle(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    assert load_file(safetensors_at(tmp_path / "a"))["a"].tolist() == [1, 1, 1]


class Bomb:
    """Ends the process if a pickle of it is ever run."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int]]:
        return os._exit, (3,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": Bomb()}, "something other than weights"),
        ({"a": torch.zeros(2), "b": Bomb()}, "something other than weights"),
        ([torch.zeros(2)], "not contain a state dict"),
        ({}, "not contain a state dict"),
        ({"step": 3, "model": {"a": torch.zeros(2)}}, "'step' is not a tensor"),
        ({3: torch.zeros(2)}, "3 is not a tensor"),
        ({"a": torch.zeros(2, dtype=torch.int64)}, "'a' is not a tensor of weights"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_other_things_is_refused_and_not_run(
    tmp_path: Path, content: object, words: str, zipped: bool
) -> None:
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=words) as caught:
        safetensors_at(tmp_path / "a")
    assert "a.pt" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("damage", [lambda content: content[:-200], lambda content: content[:9], lambda content: b"a"])
def test_a_damaged_pickle_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(1000)}, file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        safetensors_at(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


# --- locks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A downloaded model folder with a safetensors file and a pickle."""
    (tmp_path / "ckpts").mkdir()
    save_file({"a": torch.zeros(3)}, tmp_path / "ckpts" / "a.safetensors")
    torch.save({"b": torch.zeros(3)}, tmp_path / "b.pt")
    files = [tmp_path / "ckpts" / "a.safetensors", tmp_path / "b.pt"]
    entries = {file.relative_to(tmp_path).as_posix(): LockedFile(file.stat().st_size, sha256(file)) for file in files}
    HashLock("owner/name", "0" * 40, entries).write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["ckpts/a", "b"])
def test_untouched_downloads_pass(locked: Path, name: str) -> None:
    assert safetensors_at(locked / name).is_file()
    assert safetensors_at(locked / name, verify=True).is_file()


def grow(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"\0")


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["ckpts/a.safetensors", "b.pt"])
def test_a_changed_download_is_refused(locked: Path, name: str) -> None:
    path = (locked / name).with_suffix("")
    flip_a_bit(locked / name)
    with pytest.raises(CheckpointError, match="SHA-256"):
        safetensors_at(path, verify=True)
    grow(locked / name)
    with pytest.raises(CheckpointError, match="instead of") as caught:
        safetensors_at(path)
    assert str(locked / name) in str(caught.value)


def test_verifying_does_not_trust_what_was_converted(locked: Path) -> None:
    file = safetensors_at(locked / "b")
    flip_a_bit(file)
    assert load_file(safetensors_at(locked / "b"))["b"].tolist() != [0, 0, 0]
    assert load_file(safetensors_at(locked / "b", verify=True))["b"].tolist() == [0, 0, 0]


def test_a_lock_that_makes_no_sense_is_refused(locked: Path) -> None:
    (locked / "models.lock.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"models\.lock\.json"):
        safetensors_at(locked / "ckpts" / "a")
