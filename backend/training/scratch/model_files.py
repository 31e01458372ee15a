"""The files of a model folder that a small model's networks are in, and its encoders."""

from __future__ import annotations

import hashlib

import torch

from ...models.image_encoder import ImageEncoder
from ...models.latent_vae import LatentEncoder
from ...models.structure_vae import StructureEncoder
from ...weights.checkpoints import load_network
from ...weights.folders import ModelFolder, NetworkFiles

#: Our name of a network -> (published class name, file name without suffix).
FILES: dict[str, tuple[str, str]] = {
    "image_encoder": ("DinoVisionTransformer", "image_encoder"),
    "structure_encoder": ("SparseStructureEncoder", "ss_enc_conv3d"),
    "structure_decoder": ("SparseStructureDecoder", "ss_dec_conv3d"),
    "structure_flow": ("SparseStructureFlowModel", "ss_flow_img_dit"),
    "latent_encoder": ("SLatEncoder", "slat_enc_swin8"),
    "latent_decoder_mesh": ("SLatMeshDecoder", "slat_dec_mesh_swin8"),
    "latent_flow": ("SLatFlowModel", "slat_flow_img_dit"),
}


class FolderEncoders:
    """The encoders of a model folder. All methods raise CheckpointError."""

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self.folder, self.device = folder, device

    def _files(self, network: str) -> NetworkFiles:
        return self.folder.network(f"ckpts/{FILES[network][1]}")

    def structure(self) -> StructureEncoder:
        """The encoder from occupancy to structure latents."""
        return load_network(self._files("structure_encoder"), StructureEncoder, self.device)

    def latents(self) -> LatentEncoder:
        """The encoder from the voxels' features to their latents."""
        return load_network(self._files("latent_encoder"), LatentEncoder, self.device)

    def image(self) -> ImageEncoder:
        """The encoder from images to tokens."""
        return load_network(self.folder.network(self.folder.config.image_encoder), ImageEncoder, self.device)

    def digest(self) -> str:
        """A short hash of the encoders' weights, so that their latents are never confused with those of others."""
        files = [self._files("structure_encoder"), self._files("latent_encoder")]
        files.append(self.folder.network(self.folder.config.image_encoder))
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.weights.with_name(file.weights.name + ".safetensors").read_bytes())
        return digest.hexdigest()[:12]
