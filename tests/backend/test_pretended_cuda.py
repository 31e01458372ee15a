"""Every stage on a pretended CUDA device: nothing is on two devices, and launches and waits stay within budgets.

The networks have the depth of the published ones but are narrow, and the object is small: counts do not depend on
widths or sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._device import _device_constructors

from backend import stages
from backend.config import Normalization, SamplerSettings
from backend.mesh.extract.case_tables import tables_on
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.extract.seal import seal_cubes
from backend.models.image_encoder import ImageEncoder
from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import LatentGaussianDecoder, LatentMeshDecoder
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.sparse.attention import attend
from backend.sparse.convolution import submanifold_conv
from backend.sparse.tensor import SparseTensor, VoxelSet
from scripts.benchmark.objects import cube_features, ellipsoid, nearest_voxels
from tests.fakes.cuda import CUDA, Gpu, pretended_cuda


class Budget(NamedTuple):
    """The most that a stage may ask of the device."""

    launches: int
    waits: int


#: A wait that stands here is one for a size that depends on the data, unless something else is said.
BUDGETS = {
    "encode": Budget(293, 0),
    "step of the structure flow": Budget(652, 0),
    "structure decoder": Budget(104, 1),
    "tables of voxels": Budget(247, 4),
    "step of the latent flow": Budget(757, 0),
    "mesh decoder": Budget(503, 0),
    "Gaussian decoder": Budget(249, 0),
    "extraction": Budget(277, 6),
    "arrays": Budget(0, 5),  # copies of the mesh
    "seal": Budget(58, 4),
}
#: For the tables and the extraction of an object together.
MOST_WAITS = 10

WIDTH, SIDE, VOXELS = 64, 16, 300
SAMPLER = SamplerSettings(2, 0.0, (0.5, 1.0), 3.0, 1e-5)
NORMALIZATION = Normalization((0.0,) * 8, (1.0,) * 8)
GAUSSIANS: dict[str, Any] = {
    "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
    "perturb_offset": True,
    "voxel_size": 1.5,
    "num_gaussians": 4,
    "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 0.0009,
    "scaling_bias": 0.004,
    "opacity_bias": 0.1,
    "scaling_activation": "softplus",
}
FLOW: dict[str, Any] = {"num_blocks": 24, "num_heads": 1, "use_fp16": True, "qk_rms_norm": True}
WINDOWS: dict[str, Any] = {"num_blocks": 12, "num_heads": 1, "attn_mode": "swin", "window_size": 8, "use_fp16": True}


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    torch.manual_seed(0)
    with torch.no_grad(), pretended_cuda() as gpu:
        tables_on(CUDA)  # these are sent once, not for each object
        yield gpu


def within(gpu: Gpu, stage: str, act: Callable[[], Any]) -> Any:
    """What a stage returns, which must stay within its budget."""
    gpu.clear()
    made = act()
    hold(gpu, stage)
    return made


def hold(gpu: Gpu, stage: str) -> None:
    """Require that what was counted is within the budget of this stage."""
    assert gpu.waits <= BUDGETS[stage].waits, f"{stage}: {gpu.waits} waits, {dict(gpu.waited)}"
    most = gpu.launched.most_common(10)
    assert gpu.launches <= BUDGETS[stage].launches, f"{stage}: {gpu.launches} launches, most of them {most}"


def later_step(gpu: Gpu, stage: str) -> Callable[[int, int], None]:
    """What to call after each step of a flow: the first may make tables, the second must keep to its budget."""

    def after(done: int, steps: int) -> None:
        if done > 1:
            hold(gpu, stage)
        gpu.clear()

    return after


def shell(gpu: Gpu) -> tuple[Tensor, Tensor]:
    """The cubes of an object and a perfect decoder's features for them."""
    cubes, features = cube_features(ellipsoid, nearest_voxels(ellipsoid, VOXELS, SIDE), SIDE)
    return gpu.tensor(cubes), gpu.tensor(features)


def voxels(gpu: Gpu) -> Tensor:
    return gpu.tensor(F.pad(nearest_voxels(ellipsoid, VOXELS, SIDE), (1, 0)).int())


def latents(gpu: Gpu) -> SparseTensor:
    return SparseTensor(gpu.tensor(torch.randn(VOXELS, 8)), voxels(gpu))


def tables(x: VoxelSet) -> None:
    """All that the latent flow and the decoders look up."""
    _ = x.neighbours, x.coarse(2).voxels.neighbours, x.windows(8, 0), x.windows(8, 4), x.items(), x.counts, x.layout


def test_the_image_encoder(gpu: Gpu) -> None:
    encoder = gpu.network(ImageEncoder(embed_dim=WIDTH, depth=24, num_heads=1))
    pixels = gpu.tensor(torch.randn(1, 3, 518, 518))
    tokens = within(gpu, "encode", lambda: stages.encode(encoder, pixels))
    assert tokens.device == CUDA


def test_the_structure(gpu: Gpu) -> None:
    flow = gpu.network(StructureFlow(8, 8, WIDTH, WIDTH, 8, patch_size=1, **FLOW))
    noise = stages.structure_noise(flow, torch.Generator(), CUDA)
    cond = gpu.tensor(torch.randn(1, 12, WIDTH))
    after = later_step(gpu, "step of the structure flow")
    sampled = stages.sample_structure(flow, noise, cond, SAMPLER, NORMALIZATION, after)
    decoder = gpu.network(StructureDecoder(1, 8, 2, [32, 8, 8], use_fp16=True))
    coords = within(gpu, "structure decoder", lambda: stages.decode_structure(decoder, sampled))
    assert coords.device == CUDA


def test_the_latents(gpu: Gpu) -> None:
    options: dict[str, Any] = {"patch_size": 2, "num_io_res_blocks": 2, "io_block_channels": [16]}
    flow = gpu.network(LatentFlow(SIDE, 8, WIDTH, WIDTH, 8, **options, **FLOW))
    noise = stages.latent_noise(flow, voxels(gpu), torch.Generator())
    cond = gpu.tensor(torch.randn(1, 12, WIDTH))
    after = later_step(gpu, "step of the latent flow")
    made = stages.sample_latents(flow, noise, cond, SAMPLER, NORMALIZATION, after)
    assert made.device == CUDA


def test_the_decoders_wait_for_tables_only(gpu: Gpu) -> None:
    x = latents(gpu)
    tables(x.voxels)
    mesh_decoder = gpu.network(LatentMeshDecoder(SIDE, 256, 8, {"use_color": True}, **WINDOWS))
    assert len(within(gpu, "mesh decoder", lambda: mesh_decoder(x)).feats) == 64 * VOXELS
    gaussian_decoder = gpu.network(LatentGaussianDecoder(SIDE, WIDTH, 8, GAUSSIANS, **WINDOWS))
    found = within(gpu, "Gaussian decoder", lambda: stages.decode_gaussians(gaussian_decoder, x))
    assert found.rotation.device == CUDA


def test_tables_and_extraction_wait_for_sizes_only(gpu: Gpu) -> None:
    coords, (cubes, features) = voxels(gpu), shell(gpu)
    within(gpu, "tables of voxels", lambda: tables(VoxelSet(coords)))
    waits = gpu.waits
    within(gpu, "extraction", lambda: extract_mesh(cubes, features, 4 * SIDE))
    assert waits + gpu.waits <= MOST_WAITS


def test_the_mesh_is_that_of_the_processor(gpu: Gpu) -> None:
    cubes, features = shell(gpu)
    found = within(gpu, "arrays", extract_mesh(cubes, features, 4 * SIDE).numpy)
    expected = extract_mesh(cubes.cpu(), features.cpu(), 4 * SIDE).numpy()
    assert (found.faces == expected.faces).all()
    assert (found.vertices == expected.vertices).all()


def test_sealing_an_object_without_leaks(gpu: Gpu) -> None:
    cubes, features = shell(gpu)
    sealed = within(gpu, "seal", lambda: seal_cubes(cubes, features, 4 * SIDE))
    assert sealed[0] is cubes


def test_what_is_made_on_the_host_is_there_whatever_the_default_device() -> None:
    """PyTorch looks for its constructors once, in most processes before there is a pretended device."""
    _device_constructors.cache_clear()
    with torch.device("meta"):
        assert torch.tensor([1.0]).is_meta
        with pretended_cuda():
            assert torch.tensor([1.0], device="cpu").tolist() == [1.0]
            assert torch.tensor([1.0], device=CUDA).tolist() == [1.0]


def test_the_fake_refuses_two_devices_and_counts_waits(gpu: Gpu) -> None:
    x = gpu.tensor(torch.arange(6.0))
    gpu.clear()
    assert (x * 2 + 1).cpu().tolist() == [1, 3, 5, 7, 9, 11]
    assert (gpu.launches, gpu.waits) == (2, 1)
    with pytest.raises(RuntimeError, match="two devices"):
        _ = x + torch.ones(6)
    gpu.clear()
    assert len(x[x > 2]) == int(x.max()) - 2
    assert gpu.waits == 2
    assert gpu.waited.total() == gpu.waits


def test_memory_is_counted_once_for_all_that_share_it() -> None:
    with pretended_cuda() as gpu:
        whole = torch.zeros(100, 10, device=CUDA)  # 4,000 bytes
        part = whole[:5].reshape(-1)
        assert (gpu.live, gpu.peak) == (4000, 4000)
        del whole
        assert gpu.live == 4000
        more = part + 1
        assert (gpu.live, gpu.peak) == (4200, 4200)
        del part
        assert (gpu.live, gpu.peak) == (200, 4200)
        gpu.clear()
        assert gpu.peak == 200
        del more
        assert gpu.live == 0


def test_operations_are_those_that_one_counts_by_hand(gpu: Gpu) -> None:
    """A product of two numbers and the addition of it are two operations. Additions of biases are not counted."""

    def asked(act: Callable[[], Any]) -> int:
        gpu.clear()
        act()
        return gpu.operations

    x, linear = gpu.tensor(torch.randn(7, 3)), gpu.network(nn.Linear(3, 5))
    assert asked(lambda: linear(x)) == 2 * 7 * 3 * 5
    assert asked(lambda: x + x) == 0
    volume, conv = gpu.tensor(torch.randn(1, 2, 5, 5, 5)), gpu.network(nn.Conv3d(2, 4, 3, padding=1))
    assert asked(lambda: conv(volume)) == 2 * 5**3 * 27 * 2 * 4
    q, k = gpu.tensor(torch.randn(1, 6, 2, 8)), gpu.tensor(torch.randn(1, 10, 2, 8))  # two heads of eight channels
    assert asked(lambda: attend(q, k, k)) == 2 * (6 * 10 * 2 * 8) * 2, "with the keys, and with the values"
    found, weight = latents(gpu), gpu.tensor(torch.randn(16, 3, 3, 3, 8))
    bias = gpu.tensor(torch.randn(16))
    assert asked(lambda: submanifold_conv(found.feats, weight, bias, found.voxels)) == 2 * VOXELS * 27 * 8 * 16


def test_fewest_bytes_are_those_of_weights_inputs_and_outputs(gpu: Gpu) -> None:
    x, network = gpu.tensor(torch.randn(7, 3)), gpu.network(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
    _unused = gpu.tensor(torch.randn(100))
    given = 4 * (7 * 3 + 3 * 5 + 5 + 5 * 2 + 2)
    gpu.clear()
    made = network(x)
    assert gpu.fewest_bytes == given + 4 * made.numel()
    del made
    assert gpu.fewest_bytes == given, "what nobody keeps was not needed"
    _ = network(x), network(x)
    assert gpu.fewest_bytes == given + 2 * 4 * 7 * 2, "weights and inputs once"
