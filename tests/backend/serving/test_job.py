"""Around the pipeline: progress, file names, whole files, the warm model, and errors in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from backend import protocol
from backend.errors import CheckpointError, describe
from backend.files import CutOff
from backend.serving.job import fraction
from backend.serving.warm_models import WarmModels
from backend.store.catalog import HashLock, LockedFile
from tests.fakes.tiny_model import write_tiny_model


def test_progress_never_falls_and_ends_at_one() -> None:
    fractions = [fraction(stage, step, 3) for stage in protocol.STAGES for step in range(4)]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1


def test_one_model_stays_loaded(tmp_path: Path) -> None:
    first, second = (str(write_tiny_model(tmp_path / name, seed)) for seed, name in enumerate("ab"))
    models = WarmModels(torch.device("cpu"))
    pipeline = models.get(first)
    assert models.get(first) is pipeline
    assert models.get(second) is not pipeline
    with pytest.raises(CheckpointError):
        models.get("no-such-model")
    models.release()
    assert models.get(first) is not pipeline


def test_a_model_whose_files_have_changed_is_loaded_anew(tmp_path: Path) -> None:
    """As after a repair, or another export of a student to the same folder."""
    folder = write_tiny_model(tmp_path / "model", 0)
    models = WarmModels(torch.device("cpu"))
    pipeline = models.get(str(folder))
    weights = next((folder / "ckpts").glob("*.safetensors"))
    os.utime(weights, ns=(0, 0))
    again = models.get(str(folder))
    assert again is not pipeline
    assert models.get(str(folder)) is again


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckpointError("x is missing."), "checkpoint_invalid"),
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (OSError(errno.EFBIG, "File too large"), "disk_full"),
        (CutOff(Path("mug.blend"), "its last block is missing"), "disk_full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "file_error"),
        (RuntimeError("shape mismatch"), "internal"),
        (ZeroDivisionError(), "internal"),
    ],
)
def test_every_exception_has_a_code_words_and_a_hint(error: Exception, code: str) -> None:
    found, message, hint = describe(error)
    assert found == code
    assert message.endswith(".")
    assert hint


def test_low_memory_is_another_way_to_load_a_model(tmp_path: Path) -> None:
    name = str(write_tiny_model(tmp_path / "a"))
    models = WarmModels(torch.device("cpu"))
    pipeline = models.get(name)
    assert not pipeline.checkpoints
    sparing = models.get(name, low_memory=True)
    assert len(sparing.checkpoints) == 5
    assert models.get(name, low_memory=True) is sparing
    assert not models.get(name).checkpoints


def test_weights_are_verified_on_request(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "a")
    file = model / "ckpts" / "latent_flow.safetensors"
    lock = {"ckpts/latent_flow.safetensors": LockedFile(file.stat().st_size, "0" * 64)}
    HashLock("owner/name", None, lock).write(model)
    WarmModels(torch.device("cpu")).get(str(model))
    with pytest.raises(CheckpointError, match="SHA-256"):
        WarmModels(torch.device("cpu"), verify=True).get(str(model))
