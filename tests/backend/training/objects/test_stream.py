"""Objects drawn in a thread are those that their numbers say, and nothing that goes wrong there is lost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backend.training.objects.data import DataConfig, Objects, make_objects, sketch
from backend.training.objects.families import FAMILIES
from backend.training.objects.shapes import HELD_OUT
from backend.training.objects.stream import ObjectStream

CONFIG = DataConfig(shards=0, views=1, image_size=28, resolution=8, colored_shards=0)
CPU = torch.device("cpu")


def as_drawn(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    return columns


def test_a_stream_draws_every_family_from_its_first_number_on() -> None:
    stream = ObjectStream(CONFIG, CPU, first=500, at_once=1, limit=12, finish=as_drawn)
    stream.start()
    objects = Objects(stream.take())
    stream.wait(60)
    assert not stream.running
    assert stream.error is None
    assert objects.column["family"].tolist() == list(range(len(FAMILIES)))
    for kind, family in enumerate(("chair", "stool")):
        alone = make_objects(CONFIG, sketch(CONFIG, family, [500], (kind, 500, 4)), CPU)
        assert torch.equal(objects.column["image"][kind], alone["image"][0])
        assert torch.equal(objects.voxels("coords", kind), alone["coords"])
    assert len(stream.take()["count"]) == 12


def test_a_stream_never_draws_what_is_held_out_and_says_why_it_stopped() -> None:
    stream = ObjectStream(CONFIG, CPU, first=HELD_OUT - 1, at_once=2, limit=24, finish=as_drawn)
    stream.start()
    with pytest.raises(RuntimeError, match=f"no objects for training from number {HELD_OUT} on"):
        stream.take()


def test_rows_of_several_objects_are_those_of_each() -> None:
    columns = make_objects(CONFIG, sketch(CONFIG, "desk", range(3), (1, 2)), CPU, with_corner_color=True)
    objects = Objects(columns)
    rows, item = objects.rows(torch.tensor([2, 0]))
    expected = torch.cat([objects.voxels("coords", 2), objects.voxels("coords", 0)])
    assert torch.equal(columns["coords"][rows], expected)
    assert torch.equal(item.bincount(), columns["count"][[2, 0]].long())
    grid = objects.occupancy(torch.tensor([2, 0]), 8)
    assert torch.equal(grid[1, 0].nonzero().to(torch.uint8), objects.voxels("coords", 0)[:].clone().unique(dim=0))
