"""Write a model with weights made by rule: ``python -m scripts.make_random_model OUT``.

OUT gets the layout of TRELLIS-image-large: pipeline.json, and for each network that it names (also the image encoder)
its description and its weights under ckpts/, in half precision if published so. Such a model makes only noise, but it
has the sizes of the real one, to check loading, memory and time. It takes 4.3 GB; ``--like
backend/models/published/trellis2-4b``, TRELLIS.2, takes 17 GB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from torch import nn

from backend.config import PipelineConfig, read_json
from backend.files import written_whole
from backend.weights.checkpoints import build_network
from backend.weights.safetensors_file import serialised
from scripts.benchmark.networks import LARGE, description_of, weights_by_rule


def write_random_model(out: Path, like: Path = LARGE) -> None:
    """Write a folder with the networks that ``like/pipeline.json`` names. Only one tensor is in memory at a time."""
    (out / "ckpts").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(like / "pipeline.json", out / "pipeline.json")
    args = read_json(like / "pipeline.json")["args"]
    for name in (*args["models"].values(), PipelineConfig.read(like).image_encoder):
        stem = f"ckpts/{Path(name).name}"
        description = description_of(like, stem)
        shutil.copyfile(description, out / f"{stem}.json")
        size = write_weights(description, out / f"{stem}.safetensors")
        print(f"{stem}.safetensors  {size / 1e6:.0f} MB", flush=True)


def write_weights(description: Path, file: Path) -> int:
    """Write the safetensors file of one network and return its size in bytes."""
    network = build_network(description, nn.Module, half=True)
    weight = weights_by_rule(description, network)
    # Wide types first, so that every tensor begins at a multiple of its own size.
    like = dict(sorted(network.state_dict().items(), key=lambda item: (-item[1].itemsize, item[0])))
    with written_whole(file) as part, part.open("wb") as stream:
        stream.writelines(serialised(like, map(weight, like), {}))
    return file.stat().st_size


def main() -> int:
    """Write the model that the command line describes. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_random_model", description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="output folder (made if missing)")
    parser.add_argument("--like", type=Path, default=LARGE, metavar="FOLDER", help="folder with other descriptions")
    options = parser.parse_args()
    write_random_model(options.out, options.like)
    return 0


if __name__ == "__main__":
    sys.exit(main())
