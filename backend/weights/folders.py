"""Model folders: where each network's description and weights are, in a whole folder and in an overlay.

A **whole** folder is laid out as TRELLIS-image-large is published: ``pipeline.json``, and for each network that it
names ``ckpts/NAME.json`` beside ``ckpts/NAME.safetensors``.

An **overlay** holds only what differs from another model, its base: a student's flows and how they are sampled.
``overlay.json`` names the base, by a path relative to the folder or by a model's name::

    {"base": "trellis-image-large"}

``pipeline.json`` is as above, and may leave out what the base's says. A student's sets ``sparse_structure_sampler`` and
``slat_sampler``: 1 or 2 steps, and ``cfg_strength`` 0 if guidance was distilled too. A network's weights and its
description are each searched for in the folder, first under the path that ``pipeline.json`` gives, then under the last
part of that path in ``ckpts`` and at the top, and after that in the base. Weights are ``.safetensors``, or ``.pt`` or
``.pth``, which are converted once.

MDT-dist's students are published as ``pipeline.json``, ``ss_flow_img_dit_L_16l8_fp16.pt`` and
``slat_flow_img_dit_L_64l8p2_fp16.pt`` at the top, without an overlay.json and without any network's description. So a
folder with weights and without any network's description also counts as an overlay, with the base
``trellis-image-large``. One with neither is refused.

The **image encoder** that published models name, ``dinov2_vitl14_reg`` or DINOv3 of the same size, is a separate model,
because several models share it. It is searched for in the model's folder like any network, then in the folder
``dinov2-vitl14-reg`` or ``dinov3-vitl16`` beside the model's, then among the installed models. Its weights are torch
hub's ``dinov2_vitl14_reg4_pretrain.pth``, or the ``model.safetensors`` of a repository on the hub.

TRELLIS's **structure encoder**, which only guides and boxes need, is a model by itself too, for those who have TRELLIS
already. It is searched for in the model's folder and its base's, then among the installed models. The **structure
decoder** of TRELLIS.2 is TRELLIS's, and its pipeline.json names it by a path in the other repository: it is searched
for like any network, then among the installed models: in TRELLIS, or by itself. So are TRELLIS.2's flows of finer
shapes, which are a model by themselves for those who have room for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import DESCRIPTIONS, PipelineConfig, read_json
from ..errors import CheckpointError
from ..store.catalog import find_model, installed
from .suffixes import SAFETENSORS, has_weights, pickle_at

#: The base of an overlay that names none.
DEFAULT_BASE = "trellis-image-large"

#: The names of published image encoders in pipeline.json and of their descriptions, and their folders.
_ENCODERS = {"dinov2_vitl14_reg": "dinov2-vitl14-reg", "dinov3-vitl16-pretrain-lvd1689m": "dinov3-vitl16"}

#: The names of networks that may be in another model, and the models that have each.
_SHARED = {
    "ss_enc_conv3d_16l8_fp16": ("trellis-structure-encoder",),
    "ss_dec_conv3d_16l8_fp16": ("trellis-image-large", "trellis-structure-decoder"),
    "slat_flow_img2shape_dit_1_3B_1024_bf16": ("trellis2-4b-fine",),
    "slat_flow_imgshape2tex_dit_1_3B_1024_bf16": ("trellis2-4b-fine",),
}

#: Names, without suffix, of a published image encoder's weights: torch hub's, Hugging Face's.
_ENCODER_WEIGHTS = ("dinov2_vitl14_reg4_pretrain", "model")


@dataclass(frozen=True)
class NetworkFiles:
    """A network's JSON description, and its weights as a path without suffix."""

    description: Path
    weights: Path

    @classmethod
    def at(cls, path: Path) -> NetworkFiles:
        """A description and weights beside each other, at a path without suffix."""
        return cls(_json(path), path)


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk. What it does not hold itself is in ``base``."""

    path: Path
    config: PipelineConfig
    base: ModelFolder | None = None

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Read a folder's pipeline.json, and its base's. Raises CheckpointError."""
        base = _base(path)
        if base is None:
            return cls(path, PipelineConfig.read(path))
        if _base(base) is not None:
            raise CheckpointError(f"{path} is an overlay of {base}, which is an overlay itself.")
        return cls(path, PipelineConfig.read(path, base), cls(base, PipelineConfig.read(base)))

    @classmethod
    def find(cls, name: str) -> ModelFolder:
        """Read the folder of the model that ``find_model`` finds for ``name``. Raises CheckpointError."""
        return cls.read(find_model(name))

    def require_whole(self) -> None:
        """Raise CheckpointError if something that generating needs is missing: a network or the image encoder."""
        config = self.config
        needed = [config.structure_flow, config.structure_decoder, config.latent_flow, config.mesh_decoder]
        if config.materials is not None:
            needed += [config.materials.texture_flow, config.materials.texture_decoder]
        for name in (*needed, config.image_encoder):
            description = self.network(name).description
            if not description.is_file():
                raise CheckpointError(f"{description} is missing.")

    def network(self, name: str) -> NetworkFiles:
        """Where the network ``name`` of pipeline.json is. Raises CheckpointError if it is nowhere."""
        weights = self._find(name, has_weights)
        if weights is None:
            if Path(name).name in _ENCODERS:
                return self._published_encoder(Path(name).name)
            missing = (self.path / name).with_name(Path(name).name + ".safetensors")
            where = f" and {self.base.path} has no such network either" if self.base else ""
            raise CheckpointError(f"{missing} is missing{where}.")
        described = self._find(name, lambda path: _json(path).is_file()) or self.path / name
        return NetworkFiles(_json(described), weights)

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and time of each file of the model and of its base: changes if a file does. Reads no file.

        Files that loading the model makes do not count: weights that are converted from a pickle beside them.
        """
        files = sorted(path for path in self.path.rglob("*") if path.is_file() and not _is_made(path))
        status = [(path.relative_to(self.path).as_posix(), path.stat()) for path in files]
        own = tuple((name, one.st_size, one.st_mtime_ns) for name, one in status)
        if self.base:
            return own + self.base.stamp()
        return own + tuple((name, int(self.has(name)), 0) for name in self.config.optional)

    def has(self, name: str) -> bool:
        """Whether there are weights for the network ``name`` of pipeline.json."""
        return self._find(name, has_weights) is not None

    def _find(self, name: str, there: Callable[[Path], bool]) -> Path | None:
        """The first place for ``name`` that passes ``there``: in this folder, in the base, in the model that shares the
        network; None if none."""
        found = next(filter(there, _places(self.path, name)), None)
        if found is None and self.base:
            return self.base._find(name, there)
        if found is not None:
            return found
        owners = filter(None, map(installed, _SHARED.get(Path(name).name, ())))
        return next((place for owner in owners for place in _places(owner, name) if there(place)), None)

    def _published_encoder(self, name: str) -> NetworkFiles:
        folder_name = _ENCODERS[name]
        beside = [model.path.parent / folder_name for model in (self, self.base) if model]
        folder = next((folder for folder in beside if folder.is_dir()), None) or find_model(name)
        weights = next((folder / stem for stem in _ENCODER_WEIGHTS if has_weights(folder / stem)), None)
        if weights is None:
            raise CheckpointError(f"{folder / _ENCODER_WEIGHTS[1]}.safetensors is missing.")
        return NetworkFiles(DESCRIPTIONS / f"{name}.json", weights)


def _base(path: Path) -> Path | None:
    """The folder that ``path`` is an overlay of; None if it is whole."""
    file = path / "overlay.json"
    if file.exists():
        name = read_json(file).get("base")
        if not isinstance(name, str) or not name:
            raise CheckpointError(f'{file}: "base" must be the path or the name of a model.')
    elif _has_networks(path, lambda place: _json(place).is_file()):
        return None
    elif _has_networks(path, has_weights):
        name = DEFAULT_BASE
    else:
        raise CheckpointError(f"{path} has none of the networks that its pipeline.json names: it is not complete.")
    for beside in (path / name, path.parent / name):
        if (beside / "pipeline.json").is_file():
            return beside.resolve()
    return find_model(name)


def _is_made(file: Path) -> bool:
    """Whether a file of a model's folder is converted weights, or a part of such a file."""
    return ".part" in file.suffixes or (file.suffix == SAFETENSORS and pickle_at(file.with_suffix("")) is not None)


def _has_networks(path: Path, there: Callable[[Path], bool]) -> bool:
    """Whether one of the places for the networks that the folder's pipeline.json names passes ``there``."""
    args = read_json(path / "pipeline.json").get("args")
    models = args.get("models") if isinstance(args, dict) else None
    names = [name for name in models.values() if isinstance(name, str)] if isinstance(models, dict) else []
    return any(there(place) for name in names for place in _places(path, name))


def _places(folder: Path, name: str) -> tuple[Path, ...]:
    """Where in a folder the network ``name`` of a pipeline.json may be, as paths without suffix."""
    last = Path(name).name
    return folder / name, folder / "ckpts" / last, folder / last


def _json(path: Path) -> Path:
    return path.with_name(path.name + ".json")
