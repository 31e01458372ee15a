"""The sparse extractor beside its dense reference, each in a separate process."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from backend.mesh.extract import flexicubes, reference

from .meter import Meter
from .objects import SUBDIVISION, crossed_voxels, cube_features, procedural
from .stages import record

FAMILY = "chair"
METHODS = {"sparse extraction": flexicubes.extract_mesh, "dense extraction": reference.extract_mesh}


def write_features(file: Path, resolution: int) -> None:
    """Write a perfect decoder's features of a procedural object, on a grid of ``resolution``^3 cubes."""
    voxels = crossed_voxels(procedural(FAMILY), resolution // SUBDIVISION)
    torch.save(cube_features(procedural(FAMILY), voxels, resolution // SUBDIVISION), file)


def worker(connection: Connection, file: Path, device: str, repeats: int) -> None:
    """Measure each case that arrives. The features are loaded before, so the peak is the extractor's own memory."""
    coords, features = (tensor.to(device) for tensor in torch.load(file))
    meter = Meter(torch.device(device))
    for case in iter(connection.recv, None):
        extract = METHODS[case.stage]

        def run(extract: Any = extract, resolution: int = case.resolution) -> Any:
            return extract(coords, features, resolution)

        values = record(case, meter.measure(run, repeats))
        mesh = run()
        values |= {"cubes": len(coords), "faces": len(mesh.faces)}
        if extract is reference.extract_mesh:
            sparse = flexicubes.extract_mesh(coords, features, case.resolution)
            values["same_mesh"] = reference.same_mesh(sparse, mesh)
        connection.send(values)
