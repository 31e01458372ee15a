"""Presets as a table: the networks' sizes, the data, and each stage's schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..loop import Schedule
from ..objects.data import DataConfig

#: How many channels the latent encoder's input has: a voxel's lattice of signed distances, and its children's colours.
LATENT_ENCODER_CHANNELS = 5**3 + 8 * 3


#: The image encoder has learnt before, and learns at a share of the structure flow's rate.
_JOINTLY = {"pretext.encoder": 0.3}


@dataclass(frozen=True)
class Endless:
    """How a model is trained further on objects that are drawn meanwhile. The schedules' steps are not used: the time
    is what ends them."""

    first: int  # the number of the first object of each family: none was ever used
    at_once: int  # objects of a family that are drawn together
    objects: int  # how many are drawn in all
    structure_flow: Schedule
    latent_flow: Schedule


@dataclass(frozen=True)
class Preset:
    """Everything that defines a training run. ``networks`` holds the constructor arguments for the JSON files."""

    data: DataConfig
    extra_shards: int  # right before those of ``data``: only what sees images learns from them
    held_out_shards: int  # the last shards of ``data``, never trained on
    networks: dict[str, dict[str, Any]]
    schedules: dict[str, Schedule]
    further: dict[str, Schedule]  # for a run that starts with a model's weights
    endless: Endless  # the same, on a GPU
    conditioning_dropout: float = 0.1

    @property
    def extra_data(self) -> DataConfig:
        """The extra shards alone."""
        first = self.data.first - self.extra_shards
        return replace(self.data, first=first, shards=self.extra_shards, colored_shards=0)

    @property
    def extended(self) -> Preset:
        """The same with the extra shards as a part of the data."""
        first, shards = self.data.first - self.extra_shards, self.data.shards + self.extra_shards
        return replace(self, data=replace(self.data, first=first, shards=shards, colored_shards=0), extra_shards=0)


def _networks(resolution: int, latent_resolution: int, image_size: int) -> dict[str, dict[str, Any]]:
    width, latent_width = 192, 160
    structure = {"latent_channels": 8, "num_res_blocks": 0, "num_res_blocks_middle": 2}
    latent = {
        "resolution": resolution,
        "latent_channels": 8,
        "num_blocks": 2,
        "mlp_ratio": 4,
        "attn_mode": "swin",
        "window_size": 4,  # of 16 along a side; the published 8 (of 64) would see most of an object, at twice the time
    }
    flow = {
        "in_channels": 8,
        "out_channels": 8,
        "cond_channels": width,
        "mlp_ratio": 4,
        "pe_mode": "ape",
        "qk_rms_norm": True,
        "share_mod": True,
    }
    return {
        "image_encoder": {
            "img_size": image_size,
            "patch_size": 14,
            "embed_dim": width,
            "depth": 4,
            "num_heads": 6,
            "mlp_ratio": 4,
            "init_values": 1.0,
            "num_register_tokens": 4,
        },
        "structure_encoder": {"in_channels": 1, "channels": [16, 32, 48], **structure},
        "structure_decoder": {"out_channels": 1, "channels": [48, 32, 16], **structure},
        "latent_encoder": {"in_channels": LATENT_ENCODER_CHANNELS, "model_channels": 128, "num_heads": 4, **latent},
        "latent_decoder_mesh": {
            "model_channels": 256,
            "num_heads": 8,
            "representation_config": {"use_color": True},
            **latent,
        },
        "structure_flow": {
            "resolution": latent_resolution,
            "model_channels": width,
            "num_blocks": 6,
            "num_heads": 6,
            "patch_size": 1,
            **flow,
        },
        "latent_flow": {
            "resolution": resolution,
            "model_channels": latent_width,
            "num_blocks": 4,
            "num_heads": 5,
            "patch_size": 2,
            # Two: with one, no block works on the voxels themselves, and an average over a cell cannot tell them apart.
            # A velocity contains the noise of every voxel. Without a path around the cells its error stays near 1.
            "num_io_res_blocks": 2,
            "io_block_channels": [48],
            **flow,
        },
    }


_SMOKE = {
    "structure_vae": Schedule(steps=1, batch=2, rate=1e-4, warmup=1),
    "latent_vae": Schedule(steps=1, batch=1, rate=1e-4, warmup=1),
    "image_encoder": Schedule(steps=1, batch=2, rate=1e-4, warmup=1),
    "structure_flow": Schedule(steps=1, batch=2, rate=1e-4, warmup=1, shares=_JOINTLY),
    "latent_flow": Schedule(steps=1, batch=1, rate=1e-4, warmup=1),
    "structure_decoder": Schedule(steps=1, batch=2, rate=1e-4, warmup=1),
}

PRESETS: dict[str, Preset] = {
    # The shipped weights had ``schedules`` first, then ``further`` on objects of one size, with steps in between. Their
    # encoder did not learn along with the structure flow, nor their decoder from it: docs/LOG.md tells the order.
    "mini": Preset(
        DataConfig(shards=160, views=2, image_size=112, resolution=16, colored_shards=24, first=1902),
        extra_shards=320,
        held_out_shards=2,
        networks=_networks(16, 4, 112),
        schedules={
            "structure_vae": Schedule(steps=2600, batch=16, rate=1e-3),
            "latent_vae": Schedule(steps=2900, batch=2, rate=1e-3, warmup=50, ema=0.995),
            "image_encoder": Schedule(steps=16500, batch=32, rate=6e-4, weight_decay=0.02, matrix_rate=0.005),
            "structure_flow": Schedule(steps=6300, batch=32, rate=6e-4, ema=0.999, matrix_rate=0.01, shares=_JOINTLY),
            "latent_flow": Schedule(steps=5000, batch=16, rate=6e-4, ema=0.999, matrix_rate=0.01),
            "structure_decoder": Schedule(steps=1800, batch=16, rate=1e-3, warmup=50, ema=0.995),
        },
        further={
            "structure_vae": Schedule(steps=2500, batch=16, rate=4e-4, warmup=50, ema=0.99),
            "latent_vae": Schedule(steps=1750, batch=2, rate=4e-4, warmup=50, ema=0.99),
            "image_encoder": Schedule(
                steps=4500, batch=32, rate=4e-4, warmup=100, weight_decay=0.02, matrix_rate=0.004
            ),
            "structure_flow": Schedule(
                steps=6700, batch=64, rate=4e-4, warmup=100, ema=0.9995, matrix_rate=0.008, shares=_JOINTLY
            ),
            "latent_flow": Schedule(steps=5800, batch=16, rate=4e-4, warmup=100, matrix_rate=0.008),
            "structure_decoder": Schedule(steps=1800, batch=16, rate=1e-3, warmup=50, ema=0.995),
        },
        endless=Endless(
            first=40_000,
            at_once=1024,
            objects=98_304,
            structure_flow=Schedule(steps=0, batch=512, rate=8e-4, warmup=100, matrix_rate=0.012, shares=_JOINTLY),
            latent_flow=Schedule(steps=0, batch=256, rate=8e-4, warmup=100, matrix_rate=0.012),
        ),
    ),
    # Takes a minute on a CPU. It proves that every stage runs; its weights are useless.
    "smoke": Preset(
        DataConfig(shards=2, views=1, image_size=28, resolution=8, colored_shards=2, first=1),
        extra_shards=1,
        held_out_shards=1,
        networks=_networks(8, 2, 28),
        schedules=_SMOKE,
        further=_SMOKE,
        endless=Endless(
            40_000, 2, 48, Schedule(steps=0, batch=4, rate=1e-4, shares=_JOINTLY), Schedule(steps=0, batch=2, rate=1e-4)
        ),
    ),
}
