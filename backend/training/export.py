"""Write a finished run like TRELLIS-image-large: pipeline.json, and the JSON and fp16 weights of each network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn

from ..config import PRETRAINED, PipelineConfig, SamplerSettings, read_json
from ..files import write_whole, written_whole
from ..models.layers import FlowNetwork
from ..modes import COARSE
from ..weights.checkpoints import load_network
from ..weights.folders import ModelFolder
from .flow_path import SIGMA_MIN
from .scratch.decoder_pair import KINDS, Autoencoder, PairPreset
from .scratch.joint import JointStage
from .scratch.latent_flow import LatentFlowStage
from .scratch.latents import Latents, Standardized, TrainedVoxelEncoders
from .scratch.model_files import FILES
from .scratch.stages import LatentVAEStage, Run, S, ScratchStage, StructureVAEStage
from .scratch.structure_decoder import StructureDecoderStage


def begin_with(networks: Mapping[str, nn.Module], model: ModelFolder) -> None:
    """Fill networks, by name in ``FILES``, with the weights of a model folder. Raises CheckpointError if the weights do
    not fit."""
    for key, network in networks.items():
        files = model.network(f"ckpts/{FILES[key][1]}")
        # On a CPU they are in full precision.
        network.load_state_dict(load_network(files, type(network), torch.device("cpu")).state_dict())


def begun(kind: Callable[[Run], S], run: Run) -> S:
    """A stage at its start. In a run that starts with a model, it has that model's weights, except where an earlier
    stage of the run has trained them. Raises CheckpointError, and FileNotFoundError if that stage is not finished."""
    stage = kind(run)
    if run.start:
        trained = {network for network, earlier in stage.earlier.items() if run.has(earlier)}
        begin_with({k: n for k, n in stage.networks.items() if k not in trained}, run.start)
    return stage


#: ``rescale_t`` of a teacher's structures and latents: most steps at early times. Most of what latents vary by at later
#: ones is error (docs/LOG.md, "walls that a flow leaves open, and how latents are sampled").
STRUCTURE_RESCALE, LATENT_RESCALE = 10.0, 100.0


def _teacher_sampling(guidance: float, rescale_t: float) -> SamplerSettings:
    return SamplerSettings(steps=25, guidance=guidance, interval=(0.5, 1.0), rescale_t=rescale_t, sigma_min=SIGMA_MIN)


#: How a student is sampled: guidance was distilled into it, and its second step works best from the middle of the path.
STUDENT_SAMPLING = SamplerSettings(steps=2, guidance=0.0, interval=(0.5, 1.0), rescale_t=1.0, sigma_min=SIGMA_MIN)


def _sampler(settings: SamplerSettings) -> dict[str, Any]:
    """Sampler settings as pipeline.json states them."""
    params: dict[str, Any] = {"steps": settings.steps, "cfg_strength": settings.guidance}
    params |= {"cfg_interval": list(settings.interval), "rescale_t": settings.rescale_t}
    return {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": settings.sigma_min},
        "params": params,
    }


def _statistics(latents: Standardized) -> dict[str, list[float]]:
    return {"mean": latents.mean.tolist(), "std": latents.std.tolist()}


def _save_half(network: nn.Module, path: Path) -> None:
    learned = dict(network.named_parameters())  # buffers keep their precision, as published
    tensors = {n: (t.half() if n in learned else t).cpu().contiguous() for n, t in network.state_dict().items()}
    with written_whole(path) as part:
        save_file(tensors, part, {"format": "pt"})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_whole(path, json.dumps(values, indent=1) + "\n")


def export(run: Run, folder: Path, structure_guidance: float, latent_guidance: float) -> None:
    """Write a run's model folder; the guidances are the samplers' defaults. Raises FileNotFoundError if a stage is not
    finished."""
    networks: dict[str, nn.Module] = {}
    for kind in (StructureVAEStage, LatentVAEStage, JointStage, LatentFlowStage, StructureDecoderStage):
        networks |= _networks_of(run, kind)
    ckpts = folder / "ckpts"
    ckpts.mkdir(parents=True, exist_ok=True)
    for key, network in networks.items():
        name, file = FILES[key]
        _write_json(ckpts / f"{file}.json", {"name": name, "args": run.preset.networks[key]})
        _save_half(network, ckpts / f"{file}.safetensors")
    latents = Latents(run.extended(), TrainedVoxelEncoders(run))  # of the objects that the flows learnt from
    args = {
        "models": {
            "sparse_structure_decoder": f"ckpts/{FILES['structure_decoder'][1]}",
            "sparse_structure_flow_model": f"ckpts/{FILES['structure_flow'][1]}",
            "slat_decoder_mesh": f"ckpts/{FILES['latent_decoder_mesh'][1]}",
            "slat_flow_model": f"ckpts/{FILES['latent_flow'][1]}",
        },
        "sparse_structure_sampler": _sampler(_teacher_sampling(structure_guidance, STRUCTURE_RESCALE)),
        "sparse_structure_normalization": _statistics(latents.structure),
        "slat_sampler": _sampler(_teacher_sampling(latent_guidance, LATENT_RESCALE)),
        "slat_normalization": _statistics(latents.voxels),
        "image_cond_model": f"ckpts/{FILES['image_encoder'][1]}",
        "seal_leaks": True,
    }
    _write_json(folder / "pipeline.json", {"name": "TrellisImageTo3DPipeline", "args": args})


def _networks_of(run: Run, kind: type[ScratchStage]) -> dict[str, nn.Module]:
    """What a stage of the run has trained; or, if it has not begun, what is in the model that the run starts with."""
    if run.start is None or run.has(kind.name):
        return run.finished(kind).networks
    return begun(kind, run).networks


def export_autoencoder(part: Autoencoder, preset: PairPreset, folder: Path) -> None:
    """Write the networks of one part of a pair, each with its description, into the pair's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, network in zip(part.names(), (part.encoder, part.decoder), strict=True):
        _write_json(folder / f"{key}.json", {"name": KINDS[key], "args": preset.networks[key]})
        _save_half(network, folder / f"{key}.safetensors")


def export_overlay(networks: Mapping[str, nn.Module], base: ModelFolder, folder: Path) -> None:
    """Write networks, by name in ``FILES``, as an overlay of the model that they were trained further from."""
    (folder / "ckpts").mkdir(parents=True, exist_ok=True)
    for key, network in networks.items():
        _save_half(network, folder / "ckpts" / f"{FILES[key][1]}.safetensors")
    _write_json(folder / "pipeline.json", {"name": "TrellisImageTo3DPipeline", "args": {"models": {}}})
    _write_base(base, folder)


def _write_base(base: ModelFolder, folder: Path) -> None:
    beside = folder.resolve().parent == base.path.resolve().parent or base.path.parent == PRETRAINED
    name = base.path.name if beside else str(base.path.resolve())
    write_whole(folder / "overlay.json", json.dumps({"base": name}) + "\n")


def export_student(
    flow: nn.Module, stage: str, teacher: ModelFolder, folder: Path, sampling: SamplerSettings = STUDENT_SAMPLING
) -> None:
    """Add a distilled flow to ``folder``, an overlay of the teacher's. The other stage's flow may be there already.

    A flow map is another network than the teacher's flow, and gets a description of its own. Students of TRELLIS.2 make
    coarse shapes and their textures: the folder has no flows of finer ones.
    """
    (model, sampler), name = _student_keys(teacher.config)[stage]
    file = folder / "pipeline.json"
    args: dict[str, Any] = read_json(file)["args"] if file.exists() else {"models": {}}
    args["models"][model] = name
    args[sampler] = _sampler(sampling)
    weights = folder / f"{name}.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    description = folder / f"{name}.json"
    if cast(FlowNetwork, flow).flow_map:
        described = read_json(teacher.network(name).description)
        _write_json(description, {**described, "args": {**described["args"], "flow_map": True}})
    else:
        description.unlink(missing_ok=True)  # of a flow map that was there before
    if teacher.config.materials is not None and stage != "structure":
        args["default_pipeline_type"] = str(COARSE)
    _save_half(flow, weights)
    _write_json(file, {"name": read_json(teacher.path / "pipeline.json").get("name", ""), "args": args})
    _write_base(teacher, folder)


def _student_keys(config: PipelineConfig) -> dict[str, tuple[tuple[str, str], str]]:
    """Stage -> the keys of its flow and of its sampler in pipeline.json, and the flow's name."""
    structure = ("sparse_structure_flow_model", "sparse_structure_sampler"), config.structure_flow
    if config.materials is None:
        return {"structure": structure, "latents": (("slat_flow_model", "slat_sampler"), config.latent_flow)}
    return {
        "structure": structure,
        "latents": (("shape_slat_flow_model_512", "shape_slat_sampler"), config.latent_flow),
        "textures": (("tex_slat_flow_model_512", "tex_slat_sampler"), config.materials.texture_flow),
    }
