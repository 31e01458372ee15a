"""What a model folder says, as frozen dataclasses. Reading rejects invalid values early."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .errors import CheckpointError
from .modes import MODES
from .protocol import ABOUT, Settings, problem

ROOT = Path(__file__).resolve().parent.parent
PRETRAINED = ROOT / "backend" / "pretrained"
#: The JSON descriptions of published networks, without weights.
DESCRIPTIONS = ROOT / "backend" / "models" / "published"

#: The largest JSON file of a model's folder that is read, in bytes.
MOST_JSON = 1 << 20
#: The most channels that latents can have.
MOST_CHANNELS = 1024

#: Published sampler names, with whether each uses guidance and a guidance interval.
_SAMPLERS = {
    "FlowEulerSampler": (False, False),
    "FlowEulerCfgSampler": (True, False),
    "FlowEulerGuidanceIntervalSampler": (True, True),
}


def version() -> str:
    """Espalier's version, from the extension's manifest, the only place that states it."""
    return str(tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))["version"])


@dataclass(frozen=True)
class SamplerSettings:
    """How a flow is integrated from t = 1 (noise) to t = 0 (data).

    ``guidance`` is w in (1 + w) v(cond) - w v(uncond), applied while ``interval[0] <= t <= interval[1]``;
    ``rescale_t`` is r in t' = r t / (1 + (r - 1) t); ``multi_image`` is the setting of that name. ``rescale`` is the
    share of a guided sample that gets the spread of an unguided one, see ``sampling.rescaled_velocity``.
    """

    steps: int
    guidance: float
    interval: tuple[float, float]
    rescale_t: float
    sigma_min: float
    multi_image: str = Settings.multi_image
    rescale: float = 0.0

    @property
    def calls(self) -> int:
        """How many times the flow is called for one image, at most."""
        return self.steps * (2 if self.guidance else 1)

    def overridden(self, settings: Settings) -> SamplerSettings:
        """These settings, with a person's choices in place of the model's."""
        return replace(
            self,
            steps=self.steps if settings.steps is None else settings.steps,
            guidance=self.guidance if settings.guidance is None else float(settings.guidance),
            multi_image=settings.multi_image,
        )


@dataclass(frozen=True)
class Normalization:
    """Per-channel statistics that latents were standardised with: ``latents = normalised * std + mean``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class MaterialsConfig:
    """What a model of TRELLIS.2 has besides: materials on the surface, and finer shapes if it has flows for them."""

    texture_flow: str
    texture_decoder: str
    texture_sampler: SamplerSettings
    texture_normalization: Normalization
    fine_latent_flow: str | None
    fine_texture_flow: str | None
    mode: str  # how its published pipeline samples unless asked otherwise, a name of ``modes.MODES``


@dataclass(frozen=True)
class PipelineConfig:
    """A model folder's pipeline.json. Network paths are relative to the folder and lack their suffix.

    What ``materials`` has makes the model one of TRELLIS.2's family. There, latents are those of the shape, at 512^3.
    """

    structure_flow: str
    structure_decoder: str
    structure_encoder: str  # not every folder has it: only guides and boxes need it
    latent_flow: str
    mesh_decoder: str
    gaussian_decoder: str | None
    image_encoder: str
    structure_sampler: SamplerSettings
    latent_sampler: SamplerSettings
    structure_normalization: Normalization | None
    latent_normalization: Normalization
    seal_leaks: bool = False  # see ``mesh.seal``
    materials: MaterialsConfig | None = None

    @property
    def optional(self) -> tuple[str, ...]:
        """The networks that a model works without, and that may come after it."""
        finer = (self.materials.fine_latent_flow, self.materials.fine_texture_flow) if self.materials else ()
        return self.structure_encoder, *(name for name in finer if name is not None)

    @property
    def family(self) -> str:
        """The family of models that the folder's is of."""
        return "TRELLIS" if self.materials is None else "TRELLIS.2"

    @classmethod
    def read(cls, folder: Path, base: Path | None = None) -> PipelineConfig:
        """Read ``folder/pipeline.json``. What it leaves out comes from ``base``'s. Raises CheckpointError."""
        args = _Section(read_json(folder / "pipeline.json"), folder / "pipeline.json").section("args")
        own = args.section("models").values if base is not None and "models" in args.values else None
        if base is not None:
            args = args.over(_Section(read_json(base / "pipeline.json"), base / "pipeline.json").section("args"))
        models = args.section("models")
        key = "sparse_structure_normalization"  # ours; TRELLIS's structure latents are used as they are
        names = _SECOND if _SECOND.mesh_decoder in models.values else _FIRST
        return cls(
            structure_flow=models.network("sparse_structure_flow_model"),
            structure_decoder=(decoder := models.network("sparse_structure_decoder")),
            structure_encoder=_counterpart(decoder),
            latent_flow=models.network(names.latent_flow),
            mesh_decoder=models.network(names.mesh_decoder),
            gaussian_decoder=models.network("slat_decoder_gs") if "slat_decoder_gs" in models.values else None,
            image_encoder=_image_encoder(args),
            structure_sampler=_sampler(args.section("sparse_structure_sampler")),
            latent_sampler=_sampler(args.section(names.sampler)),
            structure_normalization=_normalization(args.section(key)) if key in args.values else None,
            latent_normalization=_normalization(args.section(names.normalization)),
            seal_leaks=args.switch("seal_leaks"),  # also ours
            materials=_materials(args, models, own) if names is _SECOND else None,
        )


class _Names(NamedTuple):
    """What the families call the same things in pipeline.json."""

    latent_flow: str
    mesh_decoder: str
    sampler: str
    normalization: str


_FIRST = _Names("slat_flow_model", "slat_decoder_mesh", "slat_sampler", "slat_normalization")
_SECOND = _Names("shape_slat_flow_model_512", "shape_slat_decoder", "shape_slat_sampler", "shape_slat_normalization")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder. Raises CheckpointError."""
    try:
        if file.stat().st_size > MOST_JSON:
            raise CheckpointError(f"{file} has more than {MOST_JSON >> 20} MB, which no description of a model has.")
        values = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON: {error!s:.200}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} does not hold a JSON object.")
    return values


class _Section:
    """One object of pipeline.json. It knows its own path, so that errors can name the key."""

    def __init__(self, values: dict[str, Any], file: Path, path: str = "") -> None:
        self.values, self.file, self.path = values, file, path

    def fail(self, key: str, what: str) -> CheckpointError:
        return CheckpointError(f'{self.file}: "{self.path}{key}" {what}.')

    def get(self, key: str) -> Any:
        if key not in self.values:
            raise self.fail(key, "is missing")
        return self.values[key]

    def section(self, key: str) -> _Section:
        values = self.get(key)
        if not isinstance(values, dict):
            raise self.fail(key, "must be an object")
        return _Section(values, self.file, f"{self.path}{key}.")

    def over(self, other: _Section) -> _Section:
        """The values and the networks of both. Where both have one, this section's counts."""
        own = self.section("models").values if "models" in self.values else {}
        models = other.section("models").values | own
        return _Section(other.values | self.values | {"models": models}, self.file, self.path)

    def network(self, key: str) -> str:
        value = self.get(key)
        # A published file is not trusted to reach outside its folder.
        if not isinstance(value, str) or not value or Path(value).is_absolute() or ".." in Path(value).parts:
            raise self.fail(key, f"must be a path inside the model's folder, not {value!r:.80}")
        return value

    def switch(self, key: str) -> bool:
        """True or false; false if the file does not say."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.fail(key, f"must be true or false, not {value!r:.80}")
        return value

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        """One of several texts; ``default`` if the file does not say."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or value not in choices:
            raise self.fail(key, f"must be one of {', '.join(choices)}, not {value!r:.80}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key) if default is None else self.values.get(key, default)
        if not _is_number(value):
            raise self.fail(key, f"must be a number, not {value!r:.80}")
        return float(value)

    def numbers(self, key: str, default: list[float] | None = None) -> tuple[float, ...]:
        value = self.get(key) if default is None else self.values.get(key, default)
        if not isinstance(value, list) or not value or not all(_is_number(v) for v in value):
            raise self.fail(key, "must be a list of numbers")
        return tuple(float(v) for v in value)


def _counterpart(decoder: str) -> str:
    """The path of the encoder that a decoder was trained with: no pipeline.json names it.

    It is called as its decoder is, as in ckpts/ss_dec_conv3d_16l8_fp16 and ckpts/ss_enc_conv3d_16l8_fp16.
    """
    folder, slash, name = decoder.rpartition("/")
    return folder + slash + name.replace("dec", "enc")


def _image_encoder(args: _Section) -> str:
    """The image encoder's path: TRELLIS states it, TRELLIS.2 the model's name on the hub, which is not a path here."""
    if not isinstance(args.values.get("image_cond_model"), dict):
        name = args.network("image_cond_model")
        return name if "/" in name else f"ckpts/{name}"
    return f"ckpts/{Path(args.section('image_cond_model').section('args').network('model_name')).name}"


def _materials(args: _Section, models: _Section, own: Collection[str] | None) -> MaterialsConfig:
    """What ``args`` says of materials. ``own`` are the networks that an overlay names itself; None if it is whole.

    One sampler serves coarse and finer flows alike, so an overlay with other coarse ones, such as students, has none of
    the base's finer ones.
    """
    whole = own is None or not {"shape_slat_flow_model_512", "tex_slat_flow_model_512"} & set(own)

    def fine(key: str) -> str | None:
        return models.network(key) if key in models.values and (whole or key in (own or ())) else None

    return MaterialsConfig(
        texture_flow=models.network("tex_slat_flow_model_512"),
        texture_decoder=models.network("tex_slat_decoder"),
        texture_sampler=_sampler(args.section("tex_slat_sampler")),
        texture_normalization=_normalization(args.section("tex_slat_normalization")),
        fine_latent_flow=fine("shape_slat_flow_model_1024"),
        fine_texture_flow=fine("tex_slat_flow_model_1024"),
        mode=args.choice("default_pipeline_type", MODES, "512"),
    )


def _sampler(section: _Section) -> SamplerSettings:
    """A sampler's settings. What ``params`` leaves out gets the published samplers' own defaults."""
    name = section.get("name")
    if not isinstance(name, str) or name not in _SAMPLERS:
        raise section.fail("name", f"must be one of {', '.join(_SAMPLERS)}, not {name!r:.80}")
    guided, has_interval = _SAMPLERS[name]
    params = section.section("params")
    steps = params.number("steps", 50)
    if steps != int(steps) or problem("steps", int(steps)):
        raise params.fail("steps", f"must be a whole number from 1 to {ABOUT['steps'].high}")
    rescale = params.number("rescale_t", 1.0)
    if rescale <= 0:
        raise params.fail("rescale_t", "must be more than 0")
    second = "guidance_strength" in params.values  # TRELLIS.2 has other names, and states 1 + w
    name = "guidance_interval" if second else "cfg_interval"
    interval = params.numbers(name, [0.0, 1.0]) if has_interval else (0.0, 1.0)
    if len(interval) != 2:
        raise params.fail(name, "must hold two numbers")
    share = params.number("guidance_rescale", 0.0)
    if not 0 <= share <= 1:
        raise params.fail("guidance_rescale", "must be between 0 and 1")
    strength = params.number("guidance_strength") - 1 if second else params.number("cfg_strength", 3.0)
    return SamplerSettings(
        steps=int(steps),
        guidance=strength if guided else 0.0,
        interval=(interval[0], interval[1]),
        rescale_t=rescale,
        sigma_min=section.section("args").number("sigma_min"),
        rescale=share if guided else 0.0,
    )


def _normalization(section: _Section) -> Normalization:
    mean, std = section.numbers("mean"), section.numbers("std")
    if len(mean) != len(std) or len(mean) > MOST_CHANNELS or not all(s > 0 for s in std):
        raise section.fail("std", "must hold one positive number for each mean")
    return Normalization(mean, std)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
