"""Distil a flow to one and two steps: ``python scripts/distill.py vm-vd structure --preset mini``.

A run that was stopped, by Ctrl-C or by force, goes on where it was when the same command is run again. Several devices:
``torchrun --nproc-per-node 8 scripts/distill.py ...``. Checkpoints, metrics (JSON lines, and TensorBoard's files where
it is installed) and pictures of samples stay in a folder outside the repository; ``--export`` adds the student to a
model folder of the form that students are published in.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from backend.catalog import find_model  # noqa: E402
from backend.checkpoints import load_network  # noqa: E402
from backend.conditioning import ImageEncoder  # noqa: E402
from backend.errors import BackendError  # noqa: E402
from backend.folders import ModelFolder  # noqa: E402
from backend.models.latent_flow import LatentFlow  # noqa: E402
from backend.models.latent_vae import LatentMeshDecoder  # noqa: E402
from backend.models.structure_flow import StructureFlow  # noqa: E402
from backend.models.structure_vae import StructureDecoder  # noqa: E402
from backend.training import pictures  # noqa: E402
from backend.training.distill import Devices, Distillation, LatentSet  # noqa: E402
from backend.training.estimate import Estimate  # noqa: E402
from backend.training.export import export_student  # noqa: E402
from backend.training.methods import DISTILL_PRESETS, METHODS, DistillPreset  # noqa: E402
from backend.training.presets import PRESETS  # noqa: E402
from backend.training.procedural import ProceduralStructures, ProceduralVoxels, held_out, latents_of  # noqa: E402
from backend.training.stages import Run  # noqa: E402
from backend.training.trellis500k import Dataset, PublishedLatents, problems  # noqa: E402

CACHE = Path.home() / ".cache" / "espalier"
PICTURED = 6


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def open_data(arguments: argparse.Namespace, model: ModelFolder, device: torch.device) -> tuple[LatentSet, list[Any]]:
    """The objects that a preset is distilled on, and those that are pictured."""
    structure = arguments.stage == "structure"
    if arguments.preset not in PRESETS:
        return published_data(arguments, model, device)
    run = Run(PRESETS[arguments.preset], arguments.data or CACHE / "train" / arguments.preset, device)
    latents = latents_of(run, model)
    data = ProceduralStructures(latents, model) if structure else ProceduralVoxels(latents, model)
    return data, held_out(data, PICTURED)


def published_data(
    arguments: argparse.Namespace, model: ModelFolder, device: torch.device
) -> tuple[LatentSet, list[Any]]:
    """Objects in TRELLIS-500K's layout. Raises ValueError if there are none."""
    if arguments.data is None:
        raise ValueError("this preset needs --data FOLDER, a data set in the layout of TRELLIS-500K")
    config = model.config
    normalization = config.structure_normalization if arguments.stage == "structure" else config.latent_normalization
    encoder = load_network(model.network(config.image_encoder), ImageEncoder, device)
    data = PublishedLatents(Dataset(arguments.data, arguments.stage), encoder, normalization)
    return data, [(name, 0) for name in data.names[:PICTURED]]


def load_flows(stage: str, model: ModelFolder, device: torch.device) -> tuple[Any, Any]:
    """Student (fp32, to be trained) and teacher (as the device takes it), both with the teacher's weights."""
    name, kind = (
        (model.config.structure_flow, StructureFlow) if stage == "structure" else (model.config.latent_flow, LatentFlow)
    )
    files = model.network(name)
    return load_network(files, kind, torch.device("cpu")), load_network(files, kind, device)


def drawer(stage: str, model: ModelFolder, device: torch.device) -> Any:
    """How samples of this stage are drawn."""
    config = model.config
    if stage == "structure":
        decoder = load_network(model.network(config.structure_decoder), StructureDecoder, device)
        normalization = config.structure_normalization
        mean = torch.tensor(normalization.mean if normalization else [0.0], device=device)
        std = torch.tensor(normalization.std if normalization else [1.0], device=device)
        return pictures.structure_drawer(decoder, mean, std)
    mesh = load_network(model.network(config.mesh_decoder), LatentMeshDecoder, device)
    statistics = config.latent_normalization
    return pictures.voxel_drawer(
        mesh, torch.tensor(statistics.mean, device=device), torch.tensor(statistics.std, device=device)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=tuple(METHODS))
    parser.add_argument("stage", choices=("structure", "latents"))
    parser.add_argument("--preset", choices=tuple(DISTILL_PRESETS), default="mini")
    parser.add_argument("--teacher", help="name or folder of the model to distil (default: by the preset)")
    parser.add_argument(
        "--data",
        type=Path,
        help="a data set in TRELLIS-500K's layout (preset paper), else default: what scripts/train.py data made",
    )
    parser.add_argument("--check-data", action="store_true", help="name what is wrong with --data, and stop")
    parser.add_argument("--folder", type=Path, help="default: ~/.cache/espalier/distill/PRESET/METHOD-STAGE-SEED")
    parser.add_argument("--steps", type=int, help="updates (default: the preset's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads (default: one to a core)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, memory and time, and stop")
    parser.add_argument("--export", type=Path, metavar="DIR", help="add the finished student to this model folder")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.check_data:
        return check_data(parser, arguments)
    arguments.teacher = arguments.teacher or ("trellis-image-large" if arguments.preset == "paper" else "mini")
    preset = DISTILL_PRESETS[arguments.preset][arguments.stage]
    if arguments.steps:
        preset = replace(preset, steps=arguments.steps)
    try:
        return distil(arguments, preset)
    except (BackendError, FileNotFoundError, ValueError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped: the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130


def check_data(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Print every problem of a data set; 1 if there is one."""
    if arguments.data is None:
        parser.error("--check-data needs --data")
    found = 0
    for problem in problems(Dataset(arguments.data, arguments.stage)):
        found += 1
        print(problem)
    print(f"{found} problems" if found else "all is well")
    return 1 if found else 0


def distil(arguments: argparse.Namespace, preset: DistillPreset) -> int:
    devices = Devices(arguments.device)
    method = METHODS[arguments.method]
    model = ModelFolder.read(find_model(arguments.teacher))
    student, teacher = load_flows(arguments.stage, model, devices.device)
    data, pictured = open_data(arguments, model, devices.device)
    if arguments.dry_run:
        print(json.dumps({"method": method.title, "stage": arguments.stage, **asdict(preset)}, indent=1))
        print(Estimate.of(student, data, method, preset, devices).words())
        return 0
    name = f"{arguments.method}-{arguments.stage}-{arguments.seed}"
    folder = arguments.folder or CACHE / "distill" / arguments.preset / name
    run = Distillation(student, teacher, data, method, preset, folder, devices, arguments.seed)
    draw = drawer(arguments.stage, model, devices.device)
    objects = [data.load([item], devices.device) for item in pictured]

    def picture(averaged: torch.nn.Module, path: Path) -> None:
        pictures.picture(path, objects, averaged, teacher, preset.match_guidance, draw)

    run.run(lambda words: say(f"{name}  {words}"), picture)
    if arguments.export and devices.rank == 0:
        export_student(run.averaged(), arguments.stage, model, arguments.export)
        say(f"{name}  exported to {arguments.export}")
    devices.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
