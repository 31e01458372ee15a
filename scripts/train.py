"""Train a small model from scratch: ``python -m scripts.train STAGE --preset mini``. ``all`` runs every stage in order.

If a stage was stopped, by Ctrl-C or by force, run the same command again to resume it. Data, checkpoints, logs and
held-out metrics go to a folder outside the repository. ``export`` writes the model folder. ``--start mini`` starts from
the bundled weights, not from scratch.

``endless`` is for a GPU: it trains the image encoder and the flows of ``--start`` further, for ``--seconds``, on
objects that are drawn meanwhile. What is better on held-out objects goes to ``--out``, an overlay of that model. It
cannot be resumed.

``pair`` trains a small pair of decoders of TRELLIS.2's kind, with encoders, and writes it to ``--out``. Two processes
with a ``--part`` each can do so at once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from backend.errors import BackendError
from backend.training.endless.run import EndlessRun
from backend.training.export import begun, export, export_autoencoder
from backend.training.loop import Trainer
from backend.training.objects.data import DataConfig, make_data
from backend.training.scratch.decoder_pair import PAIRS, Autoencoder
from backend.training.scratch.decoder_pair_stages import STAGES as PAIR_STAGES
from backend.training.scratch.joint import JointStage
from backend.training.scratch.latent_flow import LatentFlowStage
from backend.training.scratch.presets import PRESETS
from backend.training.scratch.stages import ImageEncoderStage, LatentVAEStage, Run, ScratchStage, StructureVAEStage
from backend.training.scratch.structure_decoder import StructureDecoderStage
from backend.weights.folders import ModelFolder

LEARNED: dict[str, Callable[[Run], ScratchStage]] = {
    "structure_vae": StructureVAEStage,
    "latent_vae": LatentVAEStage,
    "image_encoder": ImageEncoderStage,
    "structure_flow": JointStage,
    "latent_flow": LatentFlowStage,
    "structure_decoder": StructureDecoderStage,
}
STAGES = ("data", "extra_data", *LEARNED, "export")


def say(words: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def run_data(name: str, config: DataConfig, folder: Path, fused: bool) -> None:
    """Make the missing shards, and print how long it will take."""
    started, at_start = time.monotonic(), -1

    def report(done: int, total: int) -> None:
        nonlocal at_start
        at_start = done if at_start < 0 else at_start
        left = (time.monotonic() - started) / max(1, done - at_start) * (total - done) / 60
        say(f"{name}  {done}/{total} shards" + (f"  {left:.0f} min left" if done > at_start else ""))

    make_data(config, folder, report, fused)


def run_stage(name: str, run: Run, arguments: argparse.Namespace) -> None:
    """Run one of ``STAGES``, from where it stopped. Raises FileNotFoundError if an earlier stage is not finished,
    BackendError if another process is using its folder."""
    if name == "data":
        run_data(name, run.preset.data, run.data_folder, arguments.fused)
    elif name == "extra_data":
        run_data(name, run.preset.extra_data, run.data_folder, arguments.fused)
    elif name == "export":
        export(run, arguments.out, arguments.structure_guidance, arguments.latent_guidance)
        say(f"export  {arguments.out}")
    else:
        torch.manual_seed(0)  # the initial weights
        stage = begun(LEARNED[name], run)
        Trainer(stage, run.folder / name, run.device, arguments.precision == "bf16").run(say)


def run_endless(run: Run, arguments: argparse.Namespace) -> int:
    """Train a model further in a given time. Returns the exit code. Raises BackendError for a damaged model."""
    preset, plan = run.preset, run.preset.endless
    batch = arguments.batch or plan.structure_flow.batch
    plan = replace(
        plan,
        at_once=arguments.at_once or plan.at_once,
        objects=arguments.objects or plan.objects,
        structure_flow=replace(plan.structure_flow, batch=batch),
        latent_flow=replace(
            plan.latent_flow, batch=max(1, batch * plan.latent_flow.batch // plan.structure_flow.batch)
        ),
    )
    training = EndlessRun(
        ModelFolder.find(arguments.start or "mini"),
        replace(preset, endless=plan),
        arguments.folder,
        arguments.out,
        run.device,
        arguments.seconds,
        arguments.precision == "bf16",
        say,
    )
    return 0 if training.run() else 2


def run_pair(arguments: argparse.Namespace) -> None:
    """Train a pair of decoders, from where it stopped, and write it. Raises BackendError if another process does."""
    preset = PAIRS[arguments.preset]
    for part in [arguments.part] if arguments.part else PAIR_STAGES:
        torch.manual_seed(0)  # the initial weights
        stage = PAIR_STAGES[part](preset, torch.device(arguments.device))
        trainer = Trainer(stage, arguments.folder / stage.name, stage.device, arguments.precision == "bf16")
        trainer.run(say)
        export_autoencoder(cast(Autoencoder, trainer.averaged()), preset, arguments.out)
    say(f"pair  {arguments.out}")


def parse() -> argparse.Namespace:
    """The command line, with default folders filled in from the preset."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("all", *STAGES, "endless", "pair"))
    parser.add_argument("--preset", choices=tuple(PRESETS), default="mini")
    parser.add_argument("--folder", type=Path, help="data and checkpoints (default: ~/.cache/espalier/train/PRESET)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="start with the weights of this model, and use the preset's shorter schedules",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of products (use bf16 only where it is faster)"
    )
    parser.add_argument(
        "--fused",
        action="store_true",
        help="draw objects with compiled fields: twice as fast after five minutes; needs a C++ compiler",
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: one per core)")
    parser.add_argument(
        "--out", type=Path, help="folder of what is written (default: FOLDER/model; for a pair FOLDER/pair)"
    )
    parser.add_argument("--part", choices=tuple(PAIR_STAGES), help="of a pair train only this, beside the other")
    endless = parser.add_argument_group("endless")
    endless.add_argument("--seconds", type=float, default=300.0, help="how long to train in all (default: %(default)s)")
    endless.add_argument("--objects", type=int, help="how many objects to draw (default: the preset's)")
    endless.add_argument("--at-once", type=int, help="objects of a family drawn together (default: the preset's)")
    endless.add_argument("--batch", type=int, help="objects in a step of the structure flow (default: the preset's)")
    parser.add_argument("--structure-guidance", type=float, default=1.0, help="default guidance of the exported model")
    parser.add_argument("--latent-guidance", type=float, default=1.0, help="the same for the latents")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder or Path.home() / ".cache" / "espalier" / "train" / arguments.preset
    arguments.out = arguments.out or arguments.folder / ("pair" if arguments.stage == "pair" else "model")
    if arguments.stage == "pair" and arguments.start:
        parser.error("a pair starts from scratch: leave out --start")
    return arguments


def main() -> int:
    """Run the command. Exit code: 0 done, 2 failed or wrong usage, 130 stopped."""
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        start = ModelFolder.find(arguments.start) if arguments.start else None
        run = Run(PRESETS[arguments.preset], arguments.folder, torch.device(arguments.device), start)
        if arguments.stage == "endless":
            return run_endless(run, arguments)
        if arguments.stage == "pair":
            run_pair(arguments)
            return 0
        for name in STAGES if arguments.stage == "all" else (arguments.stage,):
            run_stage(name, run, arguments)
    except (FileNotFoundError, BackendError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ntrain: stopped; run the same command again to resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
