"""A model of TRELLIS.2's family through the whole pipeline: pictures in, a surface with materials out."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backend.errors import CheckpointError, GenerationError, JobCancelled, SettingsError
from backend.generated import Generated
from backend.material_stages import material_mesh
from backend.mesh import MaterialMesh, Mesh
from backend.mesh.finish import FinishedMesh, clean, finish
from backend.mesh.given import GivenMesh
from backend.pipeline import Pipeline
from backend.protocol import Settings
from backend.retexture import retexture
from backend.serving.outputs import Place, write_asset
from backend.sparse.tensor import SparseTensor
from backend.weights.folders import ModelFolder
from tests.backend.images.test_images import disc
from tests.fakes.cuda import pretended_cuda
from tests.fakes.tiny_model import RESOLUTION, write_tiny_model
from tests.fakes.tiny_trellis2 import write_tiny_trellis2

SETTINGS = Settings(seed=3, texture_size=64, faces=300, retry_seconds=0.0, texture_source="colors")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_trellis2(tmp_path_factory.mktemp("pipeline") / "tiny")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return Pipeline.load(ModelFolder.read(folder), CPU)


def made_by(pipeline: Pipeline, settings: Settings = SETTINGS) -> MaterialMesh:
    raw = pipeline.reconstruct([disc()], settings).raw
    assert isinstance(raw, MaterialMesh)
    return raw


def same(one: MaterialMesh, other: MaterialMesh) -> bool:
    names = ("vertices", "faces", "colors", "materials")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_picture_becomes_a_surface_with_materials(pipeline: Pipeline) -> None:
    steps: list[tuple[str, int, int]] = []
    previews: list[Any] = []
    made = pipeline.generate(
        [disc()], SETTINGS, on_progress=lambda *step: steps.append(step), on_preview=previews.append
    )
    raw = made.raw
    assert isinstance(raw, MaterialMesh)
    assert previews == [raw]
    assert raw.resolution == 4 * RESOLUTION
    assert raw.vertices.abs().max() <= 0.5 + 1 / raw.resolution
    assert raw.colors.shape == raw.materials.shape == raw.vertices.shape
    assert len(raw.faces) > 100
    assert list(made.timings) == ["prepare", "encode", "structure", "latents", "decode", "finish"]
    latents = [(done, steps) for stage, done, steps in steps if stage == "latents"]
    assert latents == [(done, 6) for done in range(7)]  # three steps of the shape, three of the texture
    mesh = made.mesh
    assert mesh.metallic is not None
    assert mesh.roughness is not None
    assert mesh.alpha is not None
    assert mesh.metallic.shape == mesh.roughness.shape == mesh.alpha.shape == mesh.texture.shape[:2] == (64, 64)


def test_the_same_seed_gives_the_same_surface_and_another_one_another(pipeline: Pipeline) -> None:
    first = made_by(pipeline)
    torch.rand(5)  # nothing may depend on the global generator
    assert same(made_by(pipeline), first)
    assert not same(made_by(pipeline, replace(SETTINGS, seed=4)), first)


def test_one_network_at_a_time_makes_the_same(folder: Path, pipeline: Pipeline) -> None:
    low = Pipeline.load(ModelFolder.read(folder), CPU, low_memory=True)
    assert low.materials is not None
    assert same(made_by(low), made_by(pipeline))
    for network in (low.materials.flow, low.materials.decoder, low.mesh_decoder):
        assert all(parameter.is_meta for parameter in network.parameters())


def test_nothing_is_left_on_the_cpu_of_what_belongs_to_the_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half precision, as published: flows in bfloat16, decoders in float16."""
    plain: Any = Pipeline._reconstruct
    monkeypatch.setattr(Pipeline, "_reconstruct", torch.no_grad()(plain.__wrapped__))  # the fake has no inference mode
    pipeline = Pipeline.load(ModelFolder.read(folder), CPU)
    assert pipeline.materials is not None
    for flow in (pipeline.structure_flow, pipeline.latent_flow, pipeline.materials.flow):
        flow.convert_to("bfloat16")
    for decoder in (pipeline.mesh_decoder, pipeline.materials.decoder):
        decoder.convert_to_fp16()
    flows = pipeline.structure_flow, pipeline.structure_decoder, pipeline.latent_flow, pipeline.materials.flow
    with pretended_cuda() as gpu:
        for network in (pipeline.image_encoder, *flows, pipeline.mesh_decoder, pipeline.materials.decoder):
            gpu.network(network)
        raw = made_by(replace(pipeline, device=torch.device("cuda:0")))
        assert raw.vertices.dtype == raw.materials.dtype == torch.float32
        assert len(raw.faces) > 100


def test_steps_are_for_all_flows_and_guidance_is_for_the_shape(pipeline: Pipeline) -> None:
    calls: list[tuple[str, bool]] = []
    assert pipeline.materials is not None
    flows = {"shape": pipeline.latent_flow, "texture": pipeline.materials.flow}
    hooks = [
        flow.register_forward_pre_hook(lambda _, inputs, name=name: calls.append((name, bool(inputs[2].any()))))
        for name, flow in flows.items()
    ]
    made_by(pipeline, replace(SETTINGS, steps=2, guidance=3.0))
    for hook in hooks:
        hook.remove()
    assert calls.count(("texture", True)) == 2
    assert calls.count(("texture", False)) == 0  # unguided, whatever is asked for
    assert calls.count(("shape", True)) == 2
    assert calls.count(("shape", False)) > 0


def test_several_views_act_together(pipeline: Pipeline) -> None:
    turned = disc().rotate(90)
    raw = pipeline.reconstruct([disc(), turned.resize((40, 60))], SETTINGS).raw
    assert isinstance(raw, MaterialMesh)
    assert not same(raw, made_by(pipeline))


def test_a_job_ends_in_any_network(pipeline: Pipeline) -> None:
    """Every block is a place to stop: in the flow of textures and in the decoders as well."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    pipeline.generate([disc()], SETTINGS, check=count)
    for stop in (calls // 3, calls // 2):
        left = stop

        def check() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise JobCancelled

        with pytest.raises(JobCancelled):
            pipeline.generate([disc()], SETTINGS, check=check)
    assert same(made_by(pipeline), made_by(pipeline))


def test_a_guide_is_taken_whole_and_anything_less_is_refused_in_words(pipeline: Pipeline) -> None:
    voxels = np.array([[x, y, z] for x in (2, 3) for y in (2, 3) for z in (2, 3)], np.int32)
    with pytest.raises(SettingsError, match="only with a shape strength of 1"):
        pipeline.reconstruct([disc()], replace(SETTINGS, shape_strength=0.5), guide=voxels)
    edit = (0.0, 0.0, 0.0), (0.3, 0.3, 0.3), 1
    with pytest.raises(SettingsError, match="nothing anew inside a box"):
        pipeline.reconstruct([disc()], SETTINGS, edits=[edit])
    whole = pipeline.reconstruct([disc()], replace(SETTINGS, shape_strength=1.0), guide=voxels)
    assert whole.voxels == 8
    given = pipeline.reconstruct([disc()], SETTINGS, structure=voxels)
    assert given.voxels == 8
    with pytest.raises(TypeError, match="lattice"):
        _ = given.lattice


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roughness": "estimated"}, "says itself how rough"),
        ({"texture_source": "gaussians"}, "no decoder of Gaussians"),
    ],
)
def test_what_only_the_first_family_has_is_refused_in_words(
    pipeline: Pipeline, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        pipeline.generate([disc()], replace(SETTINGS, **changes))
    assert caught.value.hint


def test_a_folder_that_mixes_the_families_is_refused(tmp_path: Path) -> None:
    first, second = write_tiny_model(tmp_path / "first"), write_tiny_trellis2(tmp_path / "second")
    for suffix in (".json", ".safetensors"):
        (second / f"ckpts/shape_decoder{suffix}").write_bytes((first / f"ckpts/mesh_decoder{suffix}").read_bytes())
    with pytest.raises(CheckpointError, match=r"ElasticSLatMeshDecoder.+must be one of: FlexiDualGridVaeDecoder"):
        Pipeline.load(ModelFolder.read(second), CPU)
    values = json.loads((second / "pipeline.json").read_text())
    del values["args"]["models"]["tex_slat_decoder"]
    (second / "pipeline.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="tex_slat_decoder"):
        ModelFolder.read(second)


@pytest.mark.parametrize(("fill", "code"), [(-1.0, "mesh_empty"), (float("nan"), "bad_features")])
def test_what_cannot_be_a_surface_is_said(pipeline: Pipeline, fill: float, code: str) -> None:
    decoder: Any = pipeline.mesh_decoder
    coords = torch.tensor([[0, x, y, z] for x in range(2) for y in range(2) for z in range(2)])
    features = SparseTensor(torch.full((8, 7), fill), coords)
    with pytest.raises(GenerationError) as caught:
        material_mesh(decoder, features, torch.zeros(8, 6), 32)
    assert caught.value.code == code


# --- finishing -------------------------------------------------------------------------------------------------------


def open_box() -> Mesh:
    """A box of many faces, one of which is missing, with its materials and colours falling along x."""
    side = 6
    grid = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double() / (side - 1) - 0.5
    squares = [[i * side + j + k for k in (0, side, side + 1, 1)] for i in range(side - 1) for j in range(side - 1)]
    vertices, faces = list[Tensor](), list[list[int]]()
    for axis in range(3):
        for end in (-0.5, 0.5):
            start = sum(map(len, vertices))
            others = [other for other in range(3) if other != axis]
            points = torch.full((side**2, 3), end, dtype=torch.double)
            points[:, others] = grid
            vertices.append(points)
            for a, b, c, d in squares:
                faces += [[start + a, start + b, start + c], [start + a, start + c, start + d]]
    points, where = torch.unique(torch.cat(vertices), dim=0, return_inverse=True)
    x = points[:, :1] + 0.5
    materials = torch.cat([x, 1 - x, torch.full_like(x, 0.25)], dim=1)
    return Mesh(
        points.float().numpy(),
        where[torch.tensor(faces[1:])].numpy(),
        x.expand(-1, 3).float().numpy(),
        materials=materials.float().numpy(),
    )


def cut_open(box: Mesh) -> Mesh:
    """Without its upper half: no hole that cleaning would close."""
    return replace(box, faces=box.faces[(box.vertices[box.faces][..., 2] < 0.2).all(1)])


def test_cleaning_takes_the_materials_along() -> None:
    box = clean(open_box())
    assert box.materials is not None
    assert box.colors is not None
    assert len(box.materials) == len(box.vertices) > len(open_box().vertices)  # the hole has been closed
    np.testing.assert_allclose(box.materials[:, 0], box.vertices[:, 0] + 0.5, atol=1e-6)
    np.testing.assert_allclose(box.materials[:, 1], 1 - box.colors[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="materials"):
        clean(replace(box, materials=box.materials[1:]))


def test_materials_are_baked_as_colors_are() -> None:
    finished = finish(open_box(), faces=100, texture_size=64)
    assert finished.metallic is not None
    assert finished.roughness is not None
    assert finished.alpha is not None
    red = finished.texture[..., 0].astype(int)
    np.testing.assert_allclose(finished.metallic, red, atol=1)
    np.testing.assert_allclose(finished.roughness, 255 - red, atol=2)
    assert np.unique(finished.alpha).tolist() == [64]
    plain = finish(replace(open_box(), materials=None), faces=100, texture_size=64)
    assert (plain.metallic, plain.roughness, plain.alpha) == (None, None, None)
    assert np.array_equal(plain.texture, finished.texture)


@pytest.fixture
def asset(tmp_path: Path) -> Callable[[Mesh], tuple[FinishedMesh, dict[str, Any], list[Image.Image]]]:
    """Finish a mesh and write it; what the file says of its material, and the images in it, in their order."""

    def write(mesh: Mesh) -> tuple[FinishedMesh, dict[str, Any], list[Image.Image]]:
        finished = finish(mesh, faces=100, texture_size=64)
        raw = MaterialMesh(*(torch.zeros(1, 3),) * 4, resolution=32)
        generated = Generated(finished, raw, None, timings={}, counts={})
        place = Place.find(tmp_path, "box", [])
        data = write_asset(place, generated, Settings(), durable=False)["glb"].read_bytes()
        (length,) = struct.unpack_from("<I", data, 12)
        document = json.loads(data[20 : 20 + length])
        body = data[28 + length :]
        views = [document["bufferViews"][image["bufferView"]] for image in document["images"]]
        pictures = [body[view["byteOffset"] :][: view["byteLength"]] for view in views]
        return finished, document, [Image.open(io.BytesIO(picture)) for picture in pictures]

    return write


def test_a_glb_has_all_materials(asset: Callable[..., Any]) -> None:
    """An open box, a quarter opaque: both its sides are seen, and what is behind it."""
    finished, document, images = asset(cut_open(open_box()))
    assert finished.see_through
    (material,) = document["materials"]
    assert material["alphaMode"] == "BLEND"
    assert material["doubleSided"] is True
    shading = material["pbrMetallicRoughness"]
    assert (shading["metallicFactor"], shading["roughnessFactor"]) == (1.0, 1.0)
    color, packed = (images[shading[name]["index"]] for name in ("baseColorTexture", "metallicRoughnessTexture"))
    assert np.array_equal(np.asarray(color), np.dstack([finished.texture, finished.alpha]))
    assert np.array_equal(np.asarray(packed)[..., 1:], np.dstack([finished.roughness, finished.metallic]))
    assert "occlusionTexture" not in material


def test_a_rim_of_low_alpha_is_opaque_and_a_closed_surface_has_one_side(asset: Callable[..., Any]) -> None:
    box = open_box()
    assert box.materials is not None
    alpha = np.where(box.vertices[:, 2:] > 0.45, 0.0, 1.0) * (np.abs(box.vertices[:, :1]) > 0.45)
    opaque = np.where(np.arange(len(alpha))[:, None] < 3, alpha, 1.0).astype(np.float32)
    finished, document, images = asset(replace(box, materials=np.hstack([box.materials[:, :2], opaque])))
    assert not finished.see_through
    (material,) = document["materials"]
    assert "alphaMode" not in material
    assert "doubleSided" not in material
    assert images[0].mode == "RGB"


def test_a_surface_without_materials_is_written_as_ever(asset: Callable[..., Any]) -> None:
    _, document, images = asset(replace(cut_open(open_box()), materials=None))
    (material,) = document["materials"]
    assert "doubleSided" not in material
    assert "metallicRoughnessTexture" not in material["pbrMetallicRoughness"]
    assert len(images) == 2  # the colour and the normals


def test_a_given_mesh_gets_the_materials_of_what_is_made_of_its_voxels(pipeline: Pipeline) -> None:
    box = open_box()
    made = retexture(pipeline, GivenMesh(box.vertices, box.faces), [disc()], SETTINGS)
    assert made.mesh.metallic is not None
    assert made.mesh.roughness is not None
    assert made.mesh.alpha is not None
    assert made.mesh.metallic.shape == made.mesh.texture.shape[:2]
    assert len(np.unique(made.mesh.metallic)) > 1
