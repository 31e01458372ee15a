"""Which models there are, where they come from, and where they are on disk.

A published model is in ``MODELS_FOLDER/NAME``, laid out as its repository is, with ``models.lock.json`` beside its
weights. That file is written last, so a folder without it is not installed. The table below states what was known when
it was written: the sizes of TRELLIS's weights, and the size and SHA-256 of the weights of TRELLIS.2, of DINOv3 and of
the matting networks, as several projects that install them state in public. Revisions are the commits that others pin.
No commit of mdt-dist is known, so the newest one is taken; so it is for the matting networks, whose hashes say which
files are meant. What is not stated here (the other sizes, all other hashes) comes from the hub's own answer at download
time, and the lock pins it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ..config import PRETRAINED
from ..errors import CheckpointError
from ..files import write_whole
from ..protocol import Peak, models_folder

LOCK_NAME = "models.lock.json"
#: The largest lock that is read, in bytes.
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published model: its path in the repository, its size in bytes, and its SHA-256 or git's own hash of
    it, which the hub publishes for small files. What is not known is None."""

    path: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


#: Cards that people have, in GiB of memory.
CARDS = (8, 12, 24)


@dataclass(frozen=True)
class PublishedModel:
    """A model that can be downloaded.

    ``size`` is its size on disk in bytes, to the nearest 10 MB if a file's size is not known. ``needs`` names models
    that it cannot work without, ``aliases`` other names that published files use for it. ``copies`` are repositories of
    others with the same files, for a model whose source asks for an account. ``peaks`` says what it takes of a GPU.
    """

    name: str
    title: str
    repository: str
    revision: str
    licence: str
    size: int
    files: tuple[PublishedFile, ...]
    needs: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    peaks: tuple[Peak, ...] = ()

    @property
    def access(self) -> str:
        """How to get the files from a source that asks for an account; empty if it does not."""
        if not self.copies:
            return ""
        return (
            f"Accept its license at {self.page} with an account, and set HF_TOKEN to a token of that account, from "
            f"https://huggingface.co/settings/tokens. Or take {', '.join(file.path for file in self.files)} from a "
            f"copy that asks for no account ({' or '.join(self.copies)}) into a folder, and install from that with "
            "--from: the same license holds, and only the original's bytes are accepted."
        )

    def fit(self, card: int) -> str:
        """How the model runs on a card with so many GiB, in words."""
        room, found = card * 2**30, []
        for peak in self.peaks:
            if peak.fits(room, low_memory=True):
                way = "" if peak.fits(room, low_memory=False) else " with low memory"
                found.append(f"{peak.resolution}{way}")
        return ", ".join(found) or "too small"

    @property
    def generates(self) -> bool:
        """Whether it makes objects by itself, with the models that it needs."""
        return any(file.path == "pipeline.json" for file in self.files)

    @property
    def part_of(self) -> str:
        """The name of the model that it makes finer; empty if it is no such part."""
        return self.needs[0] if self.peaks and not self.generates else ""

    @property
    def page(self) -> str:
        """The web page about the model and its licence."""
        return f"https://huggingface.co/{self.repository}"


def _network(name: str, size: int, sha256: str | None = None) -> tuple[PublishedFile, ...]:
    return PublishedFile(f"ckpts/{name}.json"), PublishedFile(f"ckpts/{name}.safetensors", size, sha256)


#: Of TRELLIS and its students, whose networks have the same sizes in memory.
_TRELLIS_PEAKS = (Peak(256, 2_400_000_000, 5_500_000_000),)

_PUBLISHED = (
    PublishedModel(
        name="trellis-image-large",
        title="TRELLIS image-large",
        repository="microsoft/TRELLIS-image-large",
        revision="25e0d31ffbebe4b5a97464dd851910efc3002d96",
        licence="MIT",
        size=3_010_000_000,
        # All that its pipeline.json names. The structure encoder is a model of its own below,
        # the other one, 173 MB, is for training only.
        files=(
            PublishedFile("pipeline.json"),
            *_network("ss_flow_img_dit_L_16l8_fp16", 1_130_770_840),
            *_network("ss_dec_conv3d_16l8_fp16", 147_591_972),
            *_network("slat_flow_img_dit_L_64l8p2_fp16", 1_203_755_136),
            *_network("slat_dec_mesh_swin8_B_64l8m256c_fp16", 181_903_412),
            *_network("slat_dec_gs_swin8_B_64l8gs32_fp16", 171_450_952),
            *_network("slat_dec_rf_swin8_B_64l8r16_fp16", 171_450_488),
        ),
        needs=("dinov2-vitl14-reg",),
        peaks=_TRELLIS_PEAKS,
    ),
    PublishedModel(
        name="mdt-dist",
        title="MDT-dist (TRELLIS in 1 or 2 steps)",
        repository="Zanwei/mdt-dist",
        revision="main",
        licence="unknown, see its page (trained from TRELLIS, which is MIT)",
        size=4_640_000_000,  # two flows in fp32
        files=(
            PublishedFile("pipeline.json"),
            PublishedFile("ss_flow_img_dit_L_16l8_fp16.pt"),
            PublishedFile("slat_flow_img_dit_L_64l8p2_fp16.pt"),
        ),
        needs=("trellis-image-large",),  # its decoders, and the JSON files of the two flows
        peaks=_TRELLIS_PEAKS,
    ),
    PublishedModel(
        name="dinov2-vitl14-reg",
        title="DINOv2 ViT-L/14 (image encoder)",
        repository="facebook/dinov2-with-registers-large",
        revision="e4c89a4e05589de9b3e188688a303d0f3c04d0f3",
        licence="Apache-2.0",
        size=1_220_000_000,
        files=(PublishedFile("config.json"), PublishedFile("model.safetensors")),
        aliases=("dinov2_vitl14_reg",),
    ),
    PublishedModel(
        name="trellis-structure-encoder",
        title="TRELLIS structure encoder (guides and boxes)",
        repository="microsoft/TRELLIS-image-large",
        revision="25e0d31ffbebe4b5a97464dd851910efc3002d96",
        licence="MIT",
        size=119_070_000,
        # The size that safetensors of this network have: for its decoder, the same sum gives the published one.
        files=_network("ss_enc_conv3d_16l8_fp16", 119_068_016),
    ),
    PublishedModel(
        name="trellis2-4b",
        title="TRELLIS.2 (materials, shapes at 512)",
        repository="microsoft/TRELLIS.2-4B",
        revision="af44b45f2e35a493886929c6d786e563ec68364d",
        licence="MIT",
        size=9_650_630_000,
        files=(
            PublishedFile("pipeline.json"),
            *_network(
                "ss_flow_img_dit_1_3B_64_bf16",
                2_584_426_920,
                "ca01377c485bec418076d38ee80166d32dc776d744f2553b835cba1e97a7abf6",
            ),
            *_network(
                "slat_flow_img2shape_dit_1_3B_512_bf16",
                2_584_574_424,
                "ec5e0917ef9b7e25ad51dffc7d19687a42019871f94239f2fa7f86264c55b70f",
            ),
            *_network(
                "slat_flow_imgshape2tex_dit_1_3B_512_bf16",
                2_584_672_728,
                "8371aa1c5d13be79dcd5ddfd2cf3835e902e204dc34427169a1c702828e1a94d",
            ),
            *_network(
                "shape_dec_next_dc_f16c32_fp16",
                948_490_494,
                "e3b718d3e43e4f8780e9a24ac6fff231811a67e3b058e336e10fe654c911d581",
            ),
            *_network(
                "tex_dec_next_dc_f16c32_fp16",
                948_458_812,
                "97ea69addea2ecd9312910f5f548234665eef51c088386180b7cd5b258645e3c",
            ),
        ),
        needs=("dinov3-vitl16", "trellis-structure-decoder"),
        peaks=(Peak(512, 3_500_000_000, 13_200_000_000),),
    ),
    PublishedModel(
        name="trellis2-4b-fine",
        title="TRELLIS.2, finer (shapes at 1024 and 1536)",
        repository="microsoft/TRELLIS.2-4B",
        revision="af44b45f2e35a493886929c6d786e563ec68364d",
        licence="MIT",
        size=5_169_250_000,
        files=(
            *_network(
                "slat_flow_img2shape_dit_1_3B_1024_bf16",
                2_584_574_424,
                "07cd0596f634c5adc1890023d16023afc5eed02fb84b22bb23aff5bf0030fbbd",
            ),
            *_network(
                "slat_flow_imgshape2tex_dit_1_3B_1024_bf16",
                2_584_672_728,
                "580401269059a339b8318ab9ced459a13ba63391721c83a6c383198c29e77686",
            ),
        ),
        needs=("trellis2-4b",),
        peaks=(Peak(1024, 6_300_000_000, 16_500_000_000), Peak(1536, 12_300_000_000, 22_400_000_000)),
    ),
    PublishedModel(
        name="trellis-structure-decoder",
        title="TRELLIS structure decoder (for TRELLIS.2)",
        repository="microsoft/TRELLIS-image-large",
        revision="25e0d31ffbebe4b5a97464dd851910efc3002d96",
        licence="MIT",
        size=147_593_000,
        # The pipeline.json of TRELLIS.2 names this file of the other repository. Who has TRELLIS has it already.
        files=_network(
            "ss_dec_conv3d_16l8_fp16",
            147_591_972,
            "1c76d4a40519aa2d711cc263a8404105231ac26db31d946bed48b84fee79009a",
        ),
    ),
    PublishedModel(
        name="dinov3-vitl16",
        title="DINOv3 ViT-L/16 (image encoder of TRELLIS.2)",
        repository="facebook/dinov3-vitl16-pretrain-lvd1689m",
        revision="ea8dc2863c51be0a264bab82070e3e8836b02d51",
        licence="DINOv3 License, Meta's own: read it before use",
        size=1_212_559_808,
        files=(
            PublishedFile(
                "model.safetensors", 1_212_559_808, "dcb2e45127cccbf1601e5f42fef165eea275c8e5213197e8dcf3f48822718179"
            ),
        ),
        aliases=("dinov3-vitl16-pretrain-lvd1689m",),
        copies=("visualbruno/dinov3-vitl16-pretrain-lvd1689m", "PIA-SPACE-LAB/dinov3-vitl-pretrain-lvd1689m"),
    ),
    PublishedModel(
        name="isnet-general",
        title="IS-Net (background removal, better)",
        repository="imgly/isnet-general-onnx",
        revision="main",
        licence="Apache-2.0 (its ONNX file: MIT)",
        size=176_149_806,
        files=(
            PublishedFile(
                "onnx/model.onnx", 176_149_806, "cc2c9f5c1751b9737cb81e708ff0c5e9542c2205daed22418a4fd2ab5d4c481a"
            ),
        ),
    ),
    PublishedModel(
        name="birefnet-lite",
        title="BiRefNet lite (background removal, best)",
        repository="onnx-community/BiRefNet_lite-ONNX",
        revision="main",
        licence="MIT",
        size=224_005_088,
        files=(
            PublishedFile(
                "onnx/model.onnx", 224_005_088, "5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333"
            ),
        ),
    ),
)

#: Published models by name.
PUBLISHED = {model.name: model for model in _PUBLISHED}


@dataclass(frozen=True)
class LockedFile:
    """What a file was like when it was verified: its size in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class HashLock:
    """``models.lock.json``: what was installed. ``revision`` is a commit, or None if a copied folder names none."""

    repository: str
    revision: str | None
    files: dict[str, LockedFile]

    @classmethod
    def read(cls, folder: Path) -> HashLock | None:
        """The lock of a folder; None if there is none or it is invalid, as one is that names files outside of it."""
        try:
            if (folder / LOCK_NAME).stat().st_size > MOST_BYTES:
                return None
            values = json.loads((folder / LOCK_NAME).read_text("utf-8"))
            files = {
                _inside(path): LockedFile(int(file["size"]), str(file["sha256"]))
                for path, file in values["files"].items()
            }
            return cls(str(values["repository"]), values["revision"] and str(values["revision"]), files)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Write the lock whole or not at all, and flush it to the disk before it gets its name."""
        write_whole(folder / LOCK_NAME, json.dumps(asdict(self), indent=1) + "\n", durable=True)


def _inside(path: str) -> str:
    """A path in a lock, which must be plain and lead to no other folder. Raises ValueError: a lock may be anybody's."""
    parts = path.split("/")
    if not path or "\\" in path or ":" in path or "\0" in path or not set(parts).isdisjoint({"", ".", ".."}):
        raise ValueError(f"{path!r:.80} is not a path inside the folder")
    return path


def installed_lock(model: PublishedModel) -> HashLock | None:
    """The lock of an installed model; None if it is not installed, or a file is missing or has another size."""
    folder = models_folder() / model.name
    lock = HashLock.read(folder)
    if lock is None or not all(file.path in lock.files for file in model.files):
        return None
    whole = all(_size(folder / path) == file.size for path, file in lock.files.items())
    return lock if whole else None


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def partial_folder(model: PublishedModel) -> Path:
    """The folder where a model is put together during an installation."""
    return models_folder() / ".partial" / model.name


def bundled_models() -> tuple[str, ...]:
    """Names of the models that come with Espalier."""
    return tuple(sorted(file.parent.name for file in PRETRAINED.glob("*/pipeline.json")))


def own_models() -> tuple[str, ...]:
    """Names of the person's own models: folders in the models folder that neither come with Espalier nor are published.

    Whether they can be used is not checked here: ``serving.model_list`` does that.
    """
    taken = {*bundled_models(), *PUBLISHED, *(alias for model in PUBLISHED.values() for alias in model.aliases)}
    there = {file.parent.name for file in models_folder().glob("*/pipeline.json")}
    return tuple(sorted(there - taken))


def installed(name: str) -> Path | None:
    """The folder of a published model; None if it is not installed."""
    return models_folder() / name if installed_lock(PUBLISHED[name]) is not None else None


def find_model(name: str) -> Path:
    """The folder of a model. Raises CheckpointError.

    ``name`` is the name of a bundled or installed model (or what a published pipeline.json calls it, such as
    ``dinov2_vitl14_reg``), of a folder with a pipeline.json in the models folder, or the path of such a folder.
    """
    if os.path.isfile(PRETRAINED / name / "pipeline.json") and Path(name).name == name:
        return PRETRAINED / name
    model = next((model for model in PUBLISHED.values() if name in (model.name, *model.aliases)), None)
    if model is not None:
        if installed_lock(model) is None:
            hint = f"Install it from the preferences, or with: python -m backend download {model.name}"
            raise CheckpointError(f"{model.title} is not installed.", hint, code="model_missing")
        return models_folder() / model.name
    for folder in (models_folder() / name, Path(name)):
        if name and os.path.isfile(folder / "pipeline.json"):  # not Path's: that raises for a name that is too long
            return folder.resolve()
    installed = [model.name for model in PUBLISHED.values() if installed_lock(model) is not None]
    names = ", ".join(sorted([*bundled_models(), *own_models(), *installed])) or "none"
    hint = f"Choose one of the installed models ({names}), or a folder with a pipeline.json."
    raise CheckpointError(f"There is no model named {name!r}.", hint, code="model_unknown")
