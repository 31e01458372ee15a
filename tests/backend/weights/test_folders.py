"""Model folders as they are published, whole and as overlays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.config import DESCRIPTIONS, SamplerSettings
from backend.errors import CheckpointError
from backend.pipeline import Pipeline
from backend.protocol import Settings
from backend.weights.folders import ModelFolder
from tests.backend.images.test_images import disc
from tests.fakes.tiny_model import write_tiny_model

CPU = torch.device("cpu")

#: What TRELLIS-image-large's pipeline.json says.
SAMPLER = {
    "name": "FlowEulerGuidanceIntervalSampler",
    "args": {"sigma_min": 1e-5},
    "params": {"steps": 25, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
}
NORMALIZATION = {
    "mean": [
        -2.1687545776367188,
        -0.004347046371549368,
        -0.13352349400520325,
        -0.08418072760105133,
        -0.5271206498146057,
        0.7238689064979553,
        -1.1414450407028198,
        1.2039363384246826,
    ],
    "std": [
        2.377650737762451,
        2.386378288269043,
        2.124418020248413,
        2.1748552322387695,
        2.663944721221924,
        2.371192216873169,
        2.6217446327209473,
        2.684523105621338,
    ],
}
NETWORKS = {
    "sparse_structure_decoder": "ckpts/ss_dec_conv3d_16l8_fp16",
    "sparse_structure_flow_model": "ckpts/ss_flow_img_dit_L_16l8_fp16",
    "slat_decoder_gs": "ckpts/slat_dec_gs_swin8_B_64l8gs32_fp16",
    "slat_decoder_rf": "ckpts/slat_dec_rf_swin8_B_64l8r16_fp16",
    "slat_decoder_mesh": "ckpts/slat_dec_mesh_swin8_B_64l8m256c_fp16",
    "slat_flow_model": "ckpts/slat_flow_img_dit_L_64l8p2_fp16",
}
FLOWS = ("ss_flow_img_dit_L_16l8_fp16", "slat_flow_img_dit_L_64l8p2_fp16")


def write_pipeline(folder: Path, **changes: Any) -> Path:
    """TRELLIS-image-large's pipeline.json; a change to None leaves a key out."""
    args = {
        "models": NETWORKS,
        "sparse_structure_sampler": SAMPLER,
        "slat_sampler": SAMPLER,
        "slat_normalization": NORMALIZATION,
        "image_cond_model": "dinov2_vitl14_reg",
    } | changes
    args = {key: value for key, value in args.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.json").write_text(json.dumps({"name": "TrellisImageTo3DPipeline", "args": args}))
    return folder


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"{}")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder laid out as TRELLIS-image-large is, without the weights themselves."""
    folder = write_pipeline(tmp_path / "trellis-image-large")
    for name in NETWORKS.values():
        touch(folder / f"{name}.json", folder / f"{name}.safetensors")
    return folder


def test_the_published_pipeline_is_read(large: Path) -> None:
    model = ModelFolder.read(large)
    assert model.base is None
    config = model.config
    sampler = SamplerSettings(steps=25, guidance=5.0, interval=(0.5, 1.0), rescale_t=3.0, sigma_min=1e-5)
    assert config.structure_sampler == config.latent_sampler == sampler
    assert config.structure_normalization is None
    assert list(config.latent_normalization.mean) == NORMALIZATION["mean"]
    assert list(config.latent_normalization.std) == NORMALIZATION["std"]
    names = [config.structure_flow, config.structure_decoder, config.latent_flow, config.mesh_decoder]
    for name, expected in zip(names, ["ss_flow", "ss_dec", "slat_flow", "slat_dec_mesh"], strict=True):
        files = model.network(name)
        assert files.weights.name.startswith(expected)
        assert files.weights.parent == files.description.parent == large / "ckpts"
        assert files.description.is_file()


@pytest.mark.parametrize("file", ["dinov2_vitl14_reg4_pretrain.pth", "model.safetensors"])
def test_the_published_encoder_is_found_beside_the_model(large: Path, file: str) -> None:
    folder = large.parent / "dinov2-vitl14-reg"
    touch(folder / file)
    files = ModelFolder.read(large).network(ModelFolder.read(large).config.image_encoder)
    assert files.weights == folder / Path(file).stem
    assert files.description == DESCRIPTIONS / "dinov2_vitl14_reg.json"
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=r"dinov2-vitl14-reg.+ is missing"):
        ModelFolder.read(large).network("dinov2_vitl14_reg")


def test_an_encoder_that_is_nowhere_is_named(large: Path) -> None:
    with pytest.raises(CheckpointError, match="DINOv2") as caught:
        ModelFolder.read(large).network("dinov2_vitl14_reg")
    assert "download dinov2-vitl14-reg" in caught.value.hint


def test_a_network_that_is_nowhere_is_named(large: Path) -> None:
    (large / "ckpts/ss_dec_conv3d_16l8_fp16.safetensors").unlink()
    model = ModelFolder.read(large)
    with pytest.raises(CheckpointError, match=r"ss_dec_conv3d_16l8_fp16\.safetensors is missing"):
        model.network(model.config.structure_decoder)


def test_published_samplers_have_their_own_defaults(large: Path) -> None:
    write_pipeline(large, slat_sampler={"name": "FlowEulerCfgSampler", "args": {"sigma_min": 1e-5}, "params": {}})
    sampler = ModelFolder.read(large).config.latent_sampler
    assert sampler == SamplerSettings(steps=50, guidance=3.0, interval=(0.0, 1.0), rescale_t=1.0, sigma_min=1e-5)


# --- the second family -----------------------------------------------------------------------------------------------


def second_family(folder: Path, **changes: Any) -> Path:
    """TRELLIS.2's pipeline.json, with the bundled description's models, and files of no content for them."""
    values = json.loads((DESCRIPTIONS / "trellis2-4b" / "pipeline.json").read_text())
    values["args"] |= changes
    folder.mkdir(parents=True)
    (folder / "pipeline.json").write_text(json.dumps(values))
    for name in values["args"]["models"].values():
        if name.startswith("ckpts/"):
            touch(folder / f"{name}.json", folder / f"{name}.safetensors")
    return folder


def test_a_folder_says_which_family_it_is_of(large: Path, tmp_path: Path) -> None:
    assert ModelFolder.read(large).config.family == "TRELLIS"
    config = ModelFolder.read(second_family(tmp_path / "trellis2")).config
    assert config.family == "TRELLIS.2"
    assert config.materials is not None
    assert config.materials.mode == "1024_cascade"
    assert config.materials.fine_latent_flow == "ckpts/slat_flow_img2shape_dit_1_3B_1024_bf16"
    assert config.structure_sampler == SamplerSettings(12, 6.5, (0.6, 1.0), 5.0, 1e-5, rescale=0.7)
    assert config.latent_sampler == SamplerSettings(12, 6.5, (0.6, 1.0), 3.0, 1e-5, rescale=0.5)
    assert config.materials.texture_sampler == SamplerSettings(12, 0.0, (0.6, 0.9), 3.0, 1e-5)
    assert config.structure_normalization is None
    assert len(config.latent_normalization.mean) == len(config.materials.texture_normalization.std) == 32


def test_a_folder_may_lack_the_finer_flows(tmp_path: Path) -> None:
    models = json.loads((DESCRIPTIONS / "trellis2-4b" / "pipeline.json").read_text())["args"]["models"]
    coarse = {key: value for key, value in models.items() if "1024" not in key}
    materials = ModelFolder.read(second_family(tmp_path / "trellis2", models=coarse)).config.materials
    assert materials is not None
    assert materials.fine_latent_flow is None
    assert materials.fine_texture_flow is None


def test_the_second_familys_encoder_is_found_beside_the_model(tmp_path: Path) -> None:
    model = ModelFolder.read(second_family(tmp_path / "trellis2"))
    with pytest.raises(CheckpointError, match="DINOv3") as caught:
        model.network(model.config.image_encoder)
    assert "download dinov3-vitl16" in caught.value.hint
    touch(tmp_path / "dinov3-vitl16" / "model.safetensors")
    files = model.network(model.config.image_encoder)
    assert files.weights == tmp_path / "dinov3-vitl16" / "model"
    assert files.description.is_file()


def test_the_structure_decoder_is_that_of_the_other_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelFolder.read(second_family(tmp_path / "trellis2"))
    name = model.config.structure_decoder
    assert name == "microsoft/TRELLIS-image-large/ckpts/ss_dec_conv3d_16l8_fp16"
    with pytest.raises(CheckpointError, match=r"ss_dec_conv3d_16l8_fp16\.safetensors is missing"):
        model.network(name)
    first = tmp_path / "installed" / "trellis-image-large"
    touch(first / "ckpts/ss_dec_conv3d_16l8_fp16.json", first / "ckpts/ss_dec_conv3d_16l8_fp16.safetensors")
    monkeypatch.setattr("backend.weights.folders.installed", lambda owner: first.parent / owner)
    files = model.network(name)
    assert files.weights == first / "ckpts/ss_dec_conv3d_16l8_fp16"
    assert files.description.is_file()
    monkeypatch.setattr(
        "backend.weights.folders.installed", lambda owner: tmp_path / owner if "structure" in owner else None
    )
    alone = tmp_path / "trellis-structure-decoder" / "ckpts" / "ss_dec_conv3d_16l8_fp16"
    touch(alone.with_suffix(".json"), alone.with_suffix(".safetensors"))
    assert model.network(name).weights == alone
    own = tmp_path / "trellis2" / "ckpts" / "ss_dec_conv3d_16l8_fp16.safetensors"
    touch(own)
    assert model.network(name).weights.parent == own.parent


def test_finer_flows_may_come_later_and_change_the_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelFolder.read(second_family(tmp_path / "trellis2"))
    fine = tmp_path / "trellis2-4b-fine"
    names = model.config.optional[1:]
    assert len(names) == 2
    for name in names:
        for suffix in (".json", ".safetensors"):
            (model.path / (name + suffix)).unlink()
    before = model.stamp()
    assert not any(map(model.has, names))
    touch(*(fine / (name + suffix) for name in names for suffix in (".json", ".safetensors")))
    monkeypatch.setattr(
        "backend.weights.folders.installed", lambda owner: tmp_path / owner if owner == fine.name else None
    )
    assert all(map(model.has, names))
    assert model.network(names[0]).description == fine / f"{names[0]}.json"
    assert model.stamp() != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tex_slat_sampler": None}, "tex_slat_sampler"),
        ({"image_cond_model": {"name": "DinoV3FeatureExtractor", "args": {}}}, "model_name"),
        ({"default_pipeline_type": 512}, "default_pipeline_type"),
        (
            {
                "shape_slat_sampler": {
                    "name": "FlowEulerGuidanceIntervalSampler",
                    "args": {"sigma_min": 1e-5},
                    "params": {"guidance_strength": 7.5, "guidance_rescale": 2.0},
                }
            },
            "guidance_rescale",
        ),
    ],
)
def test_what_the_second_familys_pipeline_lacks_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        ModelFolder.read(second_family(tmp_path / "trellis2", **changes))


# --- overlays --------------------------------------------------------------------------------------------------------

STUDENT_SAMPLER = {"name": "FlowEulerSampler", "args": {"sigma_min": 1e-5}, "params": {"steps": 2, "rescale_t": 1.0}}


@pytest.mark.parametrize("place", ["", "ckpts"])
def test_mdt_dist_is_read_as_it_is_published(large: Path, place: str) -> None:
    """A pipeline.json that names the teacher's decoders, and two pickles: the rest is the teacher's."""
    folder = write_pipeline(large.parent / "mdt-dist", sparse_structure_sampler=STUDENT_SAMPLER)
    touch(*(folder / place / f"{name}.pt" for name in FLOWS))
    model = ModelFolder.read(folder)
    assert model.base is not None
    assert model.base.path == large
    assert model.config.structure_sampler.steps == 2
    assert model.config.structure_sampler.guidance == 0
    flow = model.network(model.config.structure_flow)
    assert flow.weights == folder / place / FLOWS[0]
    assert flow.description == large / "ckpts" / f"{FLOWS[0]}.json"
    decoder = model.network(model.config.mesh_decoder)
    assert decoder.weights.parent == large / "ckpts"


def test_networks_named_by_their_repository_are_the_bases(large: Path) -> None:
    """TRELLIS's own loader takes a name that is not in the folder for one on the hub."""
    names = {key: f"JeffreyXiang/TRELLIS-image-large/{name}" for key, name in NETWORKS.items()}
    folder = write_pipeline(large.parent / "student", models=names)
    touch(folder / f"{FLOWS[1]}.pt")
    model = ModelFolder.read(folder)
    assert model.network(model.config.latent_flow).weights == folder / FLOWS[1]
    assert model.network(model.config.structure_flow).weights == large / "ckpts" / FLOWS[0]


def test_a_base_that_is_nowhere_is_named(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path / "mdt-dist")
    touch(*(folder / f"{name}.pt" for name in FLOWS))
    with pytest.raises(CheckpointError, match="TRELLIS image-large is not installed") as caught:
        ModelFolder.read(folder)
    assert "download trellis-image-large" in caught.value.hint


def test_a_folder_without_any_network_is_no_overlay(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none of the networks"):
        ModelFolder.read(write_pipeline(tmp_path / "emptied"))


def write_student(folder: Path, teacher: Path, form: str) -> Path:
    """An overlay with a flow of its own, of other weights and with a sampler of its own."""
    folder.mkdir()
    (folder / "overlay.json").write_text(json.dumps({"base": f"../{teacher.name}"}))
    sampler = {"sparse_structure_sampler": STUDENT_SAMPLER}
    (folder / "pipeline.json").write_text(json.dumps({"args": sampler}))
    weights = load_file(teacher / "ckpts/structure_flow.safetensors")
    weights = {key: tensor.float() * 0.9 for key, tensor in weights.items()}  # in fp32, as MDT-dist's are
    if form == ".pt":
        torch.save(weights, folder / "structure_flow.pt")
    else:
        save_file(weights, folder / "structure_flow.safetensors")
    return folder


@pytest.mark.parametrize("form", [".safetensors", ".pt"])
def test_an_overlay_generates_with_its_own_flow_and_the_bases_rest(tmp_path: Path, form: str) -> None:
    teacher = write_tiny_model(tmp_path / "teacher")
    student = Pipeline.load(ModelFolder.read(write_student(tmp_path / "student", teacher, form)), CPU)
    assert student.config.structure_sampler.steps == 2
    assert student.config.structure_sampler.guidance == 0
    assert student.config.latent_sampler.steps == 3  # the teacher's
    base = Pipeline.load(ModelFolder.read(teacher), CPU)
    for key, tensor in student.structure_flow.state_dict().items():
        assert torch.equal(tensor, base.structure_flow.state_dict()[key] * 0.9), key
    for name in ("latent_flow", "mesh_decoder", "structure_decoder", "image_encoder"):
        for key, tensor in getattr(student, name).state_dict().items():
            assert torch.equal(tensor, getattr(base, name).state_dict()[key]), key
    generated = student.generate([disc()], Settings(texture_size=64, faces=300))
    assert generated.counts["voxels"] > 0


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("{", "overlay.json"),
        ("[]", "overlay.json"),
        ("{}", '"base"'),
        ('{"base": 3}', '"base"'),
        ('{"base": ""}', '"base"'),
    ],
)
def test_a_wrong_overlay_is_refused(tmp_path: Path, overlay: str, words: str) -> None:
    folder = write_student(tmp_path / "student", write_tiny_model(tmp_path / "teacher"), ".safetensors")
    (folder / "overlay.json").write_text(overlay)
    with pytest.raises(CheckpointError, match=words):
        ModelFolder.read(folder)


def test_an_overlay_of_an_overlay_is_refused(tmp_path: Path) -> None:
    student = write_student(tmp_path / "student", write_tiny_model(tmp_path / "teacher"), ".safetensors")
    second = write_student(tmp_path / "second", tmp_path / "teacher", ".safetensors")
    (second / "overlay.json").write_text(json.dumps({"base": "../student"}))
    with pytest.raises(CheckpointError, match="an overlay itself"):
        ModelFolder.read(second)
    assert ModelFolder.read(student).base is not None


def test_an_overlay_of_itself_is_refused(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student", write_tiny_model(tmp_path / "teacher"), ".safetensors")
    (folder / "overlay.json").write_text(json.dumps({"base": "."}))
    with pytest.raises(CheckpointError, match="an overlay itself"):
        ModelFolder.read(folder)
