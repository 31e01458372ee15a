"""Distil a flow to one and two steps: ``python scripts/distill.py vm-vd structure --preset mini``.

A run that was stopped, by Ctrl-C or by force, goes on where it was when the same command is run again. Several devices:
``torchrun --nproc-per-node 8 scripts/distill.py ...``. Checkpoints, metrics (JSON lines, and TensorBoard's files where
it is installed) and pictures of samples stay in a folder outside the repository; ``--export`` adds the student to a
model folder of the form that students are published in. ``--dry-run`` needs neither teacher nor data.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from backend.config import PipelineConfig, SamplerSettings  # noqa: E402
from backend.errors import BackendError, CheckpointError  # noqa: E402
from backend.models.image_encoder import ImageEncoder  # noqa: E402
from backend.models.latent_flow import LatentFlow  # noqa: E402
from backend.models.latent_vae import LatentMeshDecoder  # noqa: E402
from backend.models.structure_flow import StructureFlow  # noqa: E402
from backend.models.structure_vae import StructureDecoder  # noqa: E402
from backend.training.distillation import pictures  # noqa: E402
from backend.training.distillation.distill import Devices, Distillation, LatentSet, usable_device  # noqa: E402
from backend.training.distillation.estimate import Estimate  # noqa: E402
from backend.training.distillation.methods import DISTILL_PRESETS, METHODS, DistillPreset, distill_preset  # noqa: E402
from backend.training.distillation.procedural import ProceduralStructures, ProceduralVoxels, held_out, latents_of  # noqa: E402
from backend.training.distillation.trellis500k import Dataset, PublishedLatents, problems  # noqa: E402
from backend.training.export import export_student  # noqa: E402
from backend.training.scratch.presets import PRESETS  # noqa: E402
from backend.training.scratch.stages import Run  # noqa: E402
from backend.weights.checkpoints import build_network, load_network  # noqa: E402
from backend.weights.folders import ModelFolder  # noqa: E402
from scripts.benchmark.networks import LARGE, description_of  # noqa: E402

CACHE = Path.home() / ".cache" / "espalier"
PICTURED = 6


def count(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def number(text: str) -> float:
    """A number from 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it must be above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = number(text)
    if value > 1:
        raise argparse.ArgumentTypeError("it must not be above 1")
    return value


class Option(NamedTuple):
    """An option that changes a field of the preset; ``methods`` are those that it plays a part in."""

    field: str
    kind: Callable[[str], Any] | tuple[str, ...]  # what reads it, or its choices
    words: str
    methods: tuple[str, ...] = tuple(METHODS)


VELOCITY = ("vm", "vd", "vm-vd")
OPTIONS = {
    "--steps": Option("steps", count, "updates"),
    "--batch": Option("batch", count, "samples of an update, on all devices together"),
    "--split": Option("split", count, "accumulation steps that an update is divided into, on each device"),
    "--rate": Option("rate", positive, "learning rate"),
    "--guidance": Option(
        "match_guidance",
        number,
        "the teacher's guidance in Velocity Matching and in the consistency methods",
        tuple(name for name in METHODS if name != "vd"),
    ),
    "--distill-guidance": Option("distill_guidance", number, "in Velocity Distillation", ("vd", "vm-vd")),
    "--distill-from": Option(
        "distill_from",
        share,
        "share of the updates after which Velocity Distillation joins Velocity Matching",
        ("vm-vd",),
    ),
    "--normalization": Option("normalization", ("rms", "l2"), "how the derivative is scaled", VELOCITY),
    "--derivative": Option("derivative", ("discrete", "continuous"), "a small step, or its limit", VELOCITY),
    "--phases": Option("phases", count, "of pcm", ("pcm",)),
    "--precision": Option("precision", ("fp32", "bf16", "fp16"), "of the products on CUDA"),
}


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def data_folder(arguments: argparse.Namespace) -> Path:
    """Where the objects are; for a preset of procedural ones the folder of ``scripts/train.py``."""
    folder: Path | None = arguments.data
    if folder is None and arguments.preset not in PRESETS:
        raise ValueError("this preset needs --data FOLDER, a data set in the layout of TRELLIS-500K")
    return folder or CACHE / "train" / arguments.preset


def require_data(arguments: argparse.Namespace) -> None:
    """Raise ValueError, with what to do, unless the objects are there."""
    folder = data_folder(arguments)
    if arguments.preset not in PRESETS:
        if not Dataset(folder, arguments.stage).names():
            raise ValueError(f"{folder} has no object to learn from: --check-data says why")
        return
    shards, there = PRESETS[arguments.preset].data.shards, len(list((folder / "data").glob("shard_*.safetensors")))
    if there < shards:
        command = f"python scripts/train.py data --preset {arguments.preset}"
        command += f" --folder {arguments.data}" if arguments.data else ""
        raise ValueError(f"{folder / 'data'} has {there} of {shards} shards of objects; they are made by: {command}")


def open_data(
    arguments: argparse.Namespace, model: ModelFolder, device: torch.device
) -> tuple[LatentSet, list[Any], str]:
    """The objects that a preset is distilled on, those that are pictured, and a name for the whole of them."""
    folder = data_folder(arguments)
    if arguments.preset in PRESETS:
        latents = latents_of(Run(PRESETS[arguments.preset], folder, device), model)
        structure = arguments.stage == "structure"
        data = ProceduralStructures(latents, model) if structure else ProceduralVoxels(latents, model)
        return data, held_out(data, PICTURED), f"{arguments.preset}, {latents.folder.name}"
    config = model.config
    normalization = config.structure_normalization if arguments.stage == "structure" else config.latent_normalization
    encoder = load_network(model.network(config.image_encoder), ImageEncoder, device)
    published = PublishedLatents(Dataset(folder, arguments.stage), encoder, normalization)
    name = f"{folder.resolve().name}, {len(published.names)} objects"
    return published, [(name, 0) for name in published.names[:PICTURED]], name


def flow_of(stage: str, config: PipelineConfig) -> tuple[str, Any, SamplerSettings]:
    """What pipeline.json calls a stage's flow, its class, and how the teacher is sampled."""
    if stage == "structure":
        return config.structure_flow, StructureFlow, config.structure_sampler
    return config.latent_flow, LatentFlow, config.latent_sampler


def load_flows(stage: str, model: ModelFolder, device: torch.device) -> tuple[Any, Any]:
    """Student (fp32, to be trained) and teacher (as the device takes it), both with the teacher's weights."""
    name, kind, _ = flow_of(stage, model.config)
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


def read_arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=count, help="CPU threads (default: one to a core)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, memory and time, and stop")
    parser.add_argument("--export", type=Path, metavar="DIR", help="add the finished student to this model folder")
    changes = parser.add_argument_group("in place of what the preset says")
    for name, option in OPTIONS.items():
        choices = isinstance(option.kind, tuple)
        reads: dict[str, Any] = {"choices": option.kind} if choices else {"type": option.kind, "metavar": "X"}
        changes.add_argument(name, dest=option.field, help=option.words, **reads)
    arguments = parser.parse_args()
    for name, option in OPTIONS.items():
        if getattr(arguments, option.field) is not None and arguments.method not in option.methods:
            parser.error(f"{name} plays no part in {arguments.method}")
    return parser, arguments


def changed_preset(arguments: argparse.Namespace) -> DistillPreset:
    """The preset with the options in place of what it says. Raises ValueError for what the device cannot do."""
    device = usable_device(arguments.device)
    if arguments.precision in ("bf16", "fp16") and device.type != "cuda":
        raise ValueError(f"--precision {arguments.precision} is for CUDA; on {device.type} products are in fp32")
    given = {option.field: getattr(arguments, option.field) for option in OPTIONS.values()}
    preset = distill_preset(arguments.preset, arguments.stage, arguments.method)
    return replace(preset, **{field: value for field, value in given.items() if value is not None})


def main() -> int:
    parser, arguments = read_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.check_data:
        return check_data(parser, arguments)
    arguments.teacher = arguments.teacher or ("trellis-image-large" if arguments.preset == "paper" else "mini")
    try:
        preset = changed_preset(arguments)
        return plan(arguments, preset) if arguments.dry_run else distil(arguments, preset)
    except BackendError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 1
    except (OSError, ValueError, FloatingPointError) as error:
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


def plan(arguments: argparse.Namespace, preset: DistillPreset) -> int:
    """Print what a run would do and take, and what it still needs."""
    method = METHODS[arguments.method]
    about = {"method": method.title, "stage": arguments.stage, "teacher": arguments.teacher}
    print(json.dumps({**about, **asdict(preset)}, indent=1))
    print(Estimate.of(described_flow(arguments), method, preset, Devices(arguments.device)).words())
    for words in lacking(arguments):
        print(words)
    return 0


def described_flow(arguments: argparse.Namespace) -> torch.nn.Module:
    """The flow without weights, by the teacher's description; by TRELLIS's own where that teacher is not installed."""
    try:
        model = ModelFolder.find(arguments.teacher)
        name, kind, _ = flow_of(arguments.stage, model.config)
        description = model.network(name).description
    except CheckpointError as error:
        if error.code != "model_missing":
            raise
        name, kind, _ = flow_of(arguments.stage, PipelineConfig.read(LARGE))
        description = description_of(LARGE, name)
    flow: torch.nn.Module = build_network(description, kind, half=False)
    return flow


def lacking(arguments: argparse.Namespace) -> Iterator[str]:
    """What a run needs that is not there yet, with how to get it."""
    try:
        model = ModelFolder.find(arguments.teacher)
        config = model.config
        decoder = config.structure_decoder if arguments.stage == "structure" else config.mesh_decoder
        for name in (flow_of(arguments.stage, config)[0], config.image_encoder, decoder):
            model.network(name)
    except CheckpointError as error:
        yield f"missing teacher: {error} {error.hint}"
    try:
        require_data(arguments)
    except ValueError as error:
        yield f"missing data: {error}"


def distil(arguments: argparse.Namespace, preset: DistillPreset) -> int:
    require_data(arguments)
    devices = Devices(arguments.device)
    model = ModelFolder.find(arguments.teacher)
    student, teacher = load_flows(arguments.stage, model, devices.device)
    data, pictured, named = open_data(arguments, model, devices.device)
    name = f"{arguments.method}-{arguments.stage}-{arguments.seed}"
    folder = arguments.folder or CACHE / "distill" / arguments.preset / name
    about = {"stage": arguments.stage, "data": named}
    method = METHODS[arguments.method]
    run = Distillation(student, teacher, data, method, preset, folder, devices, arguments.seed, about)
    draw = drawer(arguments.stage, model, devices.device)
    objects = [data.load([item], devices.device) for item in pictured]
    sampling = flow_of(arguments.stage, model.config)[2]

    def picture(averaged: torch.nn.Module, path: Path) -> None:
        pictures.picture(path, objects, averaged, teacher, sampling, draw)

    run.run(lambda words: say(f"{name}  {words}"), picture)
    if arguments.export and devices.rank == 0:
        export_student(run.averaged(), arguments.stage, model, arguments.export)
        say(f"{name}  exported to {arguments.export}")
    run.close()
    devices.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
