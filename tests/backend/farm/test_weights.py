"""The model on each machine: the same, fetched once."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from backend.errors import CheckpointError
from backend.farm import weights
from backend.farm.options import add_options
from backend.farm.stores import joined, path_in, shown
from backend.farm.weights import identity, require
from tests.fakes.tiny_model import write_tiny_model


def test_a_model_is_known_by_what_is_in_its_files(tmp_path: Path) -> None:
    first, other = write_tiny_model(tmp_path / "first", 0), write_tiny_model(tmp_path / "other", 1)
    copied = shutil.copytree(first, tmp_path / "copied")
    os.utime(copied / "pipeline.json", ns=(0, 0))
    assert identity(str(first)) == identity(str(copied)) != identity(str(other))
    require(str(copied), identity(str(first)), fetch=False)
    with pytest.raises(CheckpointError, match="another one"):
        require(str(other), identity(str(first)), fetch=False)
    with pytest.raises(CheckpointError, match="no model"):
        require(str(tmp_path / "missing"), "", fetch=True)


def bring(folder: str) -> None:
    """In a process of its own: need a model that is not there."""
    os.environ["ESPALIER_MODELS"] = folder

    def fetch(name: str) -> None:
        there = Path(folder, "there")
        if not there.exists():  # as ``missing_models`` says
            with (Path(folder) / "fetched").open("a") as log:
                log.write("once\n")
            time.sleep(0.5)
            there.touch()

    weights._fetch = fetch
    weights.identity = lambda name: "the model"
    require("trellis-image-large", "the model", fetch=True)


def test_workers_of_one_machine_fetch_a_model_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=bring, args=(str(tmp_path),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "fetched").read_text() == "once\n"


def test_a_model_is_not_fetched_without_consent(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not installed"):
        require("trellis-image-large", "", fetch=False)


def test_addresses_keep_their_options_to_themselves() -> None:
    address = joined("s3://bucket/some%20where?access_key=secret", "a/ü?.png")
    assert address == "s3://bucket/some%20where/a/%C3%BC%3F.png?access_key=secret"
    assert path_in(address) == "/some where/a/ü?.png"
    assert "secret" not in shown(address)


@pytest.mark.parametrize(
    "wrong", [["--format", "glb,gif"], ["--actors", "0"], ["--gpu-share", "2"], ["--format", ""], ["--gpu-share", "x"]]
)
def test_options_that_make_no_sense_are_refused(wrong: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    parser.parse_args(["in", "--out", "out", "--format", "glb, obj", "--gpu-share", "0.5"])
    with pytest.raises(SystemExit):
        parser.parse_args(["in", "--out", "out", *wrong])
