"""The networks against the reference's figures, and the check itself against figures that are wrong."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from backend.__main__ import main
from backend.goldens.case import find_cases, load_case
from backend.goldens.check import FAMILIES, check_case
from backend.goldens.compare import Value, compare, compare_outputs
from backend.goldens.networks import full_size_network
from backend.models.structure_vae import StructureDecoder, StructureEncoder
from backend.weights.random_weights import fill_by_rule
from tests.backend.golden import ROOT
from tests.fakes.cuda import pretended_cuda

SMALL = ROOT / "fp16_casts" / "ss_dec"


def name_of(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


@pytest.mark.parametrize("folder", list(find_cases(ROOT)), ids=name_of)
def test_case(folder: Path) -> None:
    verdict = check_case(folder)
    assert verdict.status == "passed", verdict


@pytest.mark.parametrize("folder", [f for f in find_cases(ROOT) if "mdt" not in f.parent.name], ids=name_of)
def test_case_on_a_pretended_device(folder: Path) -> None:
    """Nothing is left behind on the CPU. (The losses need gradients, which the fake has not.)"""
    with pretended_cuda():
        verdict = check_case(folder, device="cuda:0")
    assert verdict.status == "passed", verdict


@pytest.mark.gpu
@pytest.mark.parametrize("folder", list(find_cases(ROOT)), ids=name_of)
def test_case_on_a_gpu(folder: Path) -> None:
    verdict = check_case(folder, device="cuda")
    assert verdict.status == "passed", verdict


def test_every_family_but_the_full_size_ones_has_a_case_or_is_part_of_one() -> None:
    covered = {folder.parent.name for folder in find_cases(ROOT)}
    tiny = {family for family, run in FAMILIES.items() if run is not full_size_network}
    # The blocks are what the networks are made of; the decoder's half-precision case has fp32 outputs too. Losses are
    # the same for sparse latents, whose networks are large.
    assert tiny - covered == {"blocks", "ss_dec", "mdt_sparse"}


# --- the check -------------------------------------------------------------------------------------------------------


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A copy of a small case that a test may spoil, under names that say nothing."""
    return Path(shutil.copytree(SMALL, tmp_path / "some" / "where"))


def change(case: Path, file: str, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(case / file).items()}
    edit(tensors)
    save_file(tensors, case / file)


def configure(case: Path, **values: Any) -> None:
    file = case / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def nudge(tensors: dict[str, Tensor]) -> None:
    tensors["out_fp32_model"][0, 0, 1, 2, 3] += 1e-3


def grow(tensors: dict[str, Tensor]) -> None:
    tensors["out_fp32_model"] = torch.zeros(1, 1, 8, 8, 9)


def poison(tensors: dict[str, Tensor]) -> None:
    tensors["out_fp32_model"][0, 0, 0, 0, 0] = math.nan


def add_output(tensors: dict[str, Tensor]) -> None:
    tensors["another"] = torch.zeros(2)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (nudge, "out_fp32_model"),
        (grow, "out_fp32_model shape [1, 1, 8, 8, 8], not [1, 1, 8, 8, 9]"),
        (poison, "out_fp32_model"),
        (add_output, "another is not computed"),
    ],
)
def test_an_output_that_disagrees_fails_its_case(
    case: Path, edit: Callable[[dict[str, Tensor]], None], reason: str
) -> None:
    change(case, "outputs.safetensors", edit)
    verdict = check_case(case)
    assert (verdict.status, verdict.reason) == ("failed", reason)


def test_weights_that_do_not_fit_fail_their_case(case: Path) -> None:
    change(case, "weights.safetensors", lambda tensors: tensors.pop("input_layer.bias"))
    verdict = check_case(case)
    assert verdict.status == "failed"
    assert "input_layer.bias" in verdict.reason


def test_another_dtype_inside_fails_its_case(case: Path) -> None:
    trace = json.loads((case / "config.json").read_text())["module_dtype_trace_in_out"]
    configure(case, module_dtype_trace_in_out=trace | {"blocks.0.norm1": [["float16"], "float32"]})
    verdict = check_case(case)
    assert verdict.status == "failed"
    assert "blocks.0.norm1" in verdict.reason


def test_full_size_weights_and_inputs_follow_from_their_rules(case: Path) -> None:
    """A case of a full-size family in small: nothing of it is stored but parts of what came out."""
    args: dict[str, Any] = {"out_channels": 1, "latent_channels": 4, "num_res_blocks": 1, "channels": [16, 8]}
    decoder = StructureDecoder(**args)
    fill_by_rule(decoder)
    z = torch.randn(1, 4, 3, 3, 3, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits = decoder(z)
    bias = decoder.state_dict()["input_layer.bias"].double()
    configure(
        case,
        family="full_ss_dec",
        args=args,
        rule_salt="",
        rule_s=0.02,
        weights_probe={"input_layer.bias": [float(bias[0]), float(bias.sum())]},
        inputs_rule="z = randn(1,4,3,3,3) with generator seed 5",
    )
    outputs = {"logits.every_97th": logits.flatten()[::97].contiguous(), "positive_count": (logits > 0).sum()}
    for name in ("inputs", "weights"):
        (case / f"{name}.safetensors").unlink()
    save_file(outputs, case / "outputs.safetensors")
    assert check_case(case).status == "skipped"
    assert check_case(case, slow=True).status == "passed"
    save_file({**outputs, "logits.stats": torch.zeros(5).double()}, case / "outputs.safetensors")
    assert check_case(case, slow=True).reason == "logits.stats"
    configure(case, weights_probe={"input_layer.bias": [0.5, 1.0]})
    assert check_case(case, slow=True).reason == "weights.input_layer.bias"


@pytest.mark.parametrize("stored", [{}, {"coords": torch.tensor([[0, 1, 2, 3], [0, 7, 0, 4]])}])
def test_the_full_size_structure_encoder_is_a_family(case: Path, stored: dict[str, Tensor]) -> None:
    """In small, with its own figures: the volume is drawn, or made from the voxels that are stored of it."""
    args: dict[str, Any] = {"in_channels": 1, "latent_channels": 3, "num_res_blocks": 1, "channels": [4, 8]}
    encoder = StructureEncoder(**args)
    fill_by_rule(encoder)
    volume = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(6))
    if stored:
        volume.zero_()
        volume[0, 0, [1, 7], [2, 0], [3, 4]] = 1.0
    with torch.no_grad():
        z, mean, logvar = encoder(volume, return_raw=True)
    configure(
        case,
        family="full_ss_enc",
        model_class="SparseStructureEncoder",
        args=args,
        rule_salt="",
        rule_s=0.02,
        inputs={"x": [[1, 1, 8, 8, 8], "float32"]},
        inputs_rule="coords as stored" if stored else "x = randn(1,1,8,8,8) with generator seed 6",
    )
    outputs = {"z.every_97th": z.flatten()[::97].contiguous(), "mean": mean, "logvar": logvar}
    (case / "weights.safetensors").unlink()
    save_file(stored, case / "inputs.safetensors")
    save_file(outputs, case / "outputs.safetensors")
    assert check_case(case).status == "skipped"
    assert check_case(case, slow=True).status == "passed"
    change(case, "outputs.safetensors", lambda tensors: tensors["logvar"][0, 2, 1, 2, 3].add_(1e-3))
    assert check_case(case, slow=True).reason == "logvar"


def test_every_published_network_has_a_full_size_family() -> None:
    full = [
        family.removeprefix("full_").removesuffix("_L")
        for family, run in FAMILIES.items()
        if run is full_size_network and not family.startswith("t2_")  # which has them for three kinds
    ]
    published = {file.stem for file in (ROOT / "keymaps").glob("*.json")} - {"hf_dinov2_with_registers_large"}
    assert len(full) == len(published) == 9
    assert all(any(name.startswith(family) for family in full) for name in published)


def test_an_image_reaches_the_encoder_with_its_alpha(tmp_path: Path) -> None:
    """A case whose image is RGBA, resized as it is: dropping its alpha before makes other pixels."""
    case = Path(shutil.copytree(ROOT / "image_encode" / "d_pos_interp", tmp_path / "image_encode" / "rgba"))
    (case / "inputs.safetensors").unlink()
    pixels = torch.randint(0, 256, (40, 30, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    pixels[:20, :, 3] = 0
    image = Image.fromarray(pixels.numpy())
    image.save(case / "image0.png")

    def store(reference: Image.Image) -> None:
        rgb = torch.from_numpy(np.array(reference.convert("RGB"))).permute(2, 0, 1)[None] / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        normalised = (rgb - mean[:, None, None]) / std[:, None, None]
        save_file({"image_every_97th": normalised.flatten()[::97].contiguous()}, case / "outputs.safetensors")

    store(image.resize((518, 518), Image.Resampling.LANCZOS))
    assert check_case(case).status == "passed"
    store(image.convert("RGB").resize((518, 518), Image.Resampling.LANCZOS))
    assert check_case(case).reason == "image_every_97th"


def test_the_command_reports_every_case_and_fails_if_one_does(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(case, tmp_path / "other" / "family")
    configure(tmp_path / "other" / "family", family="full_ss_dec")
    assert main(["check-goldens", str(tmp_path), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "2 cases: 1 passed, 0 failed, 1 of full size skipped (--slow runs them)"
    )

    shutil.copytree(case, tmp_path / "third")
    configure(tmp_path / "third", family="surprises")
    assert main(["check-goldens", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["summary"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert [one["reason"] for one in report["cases"] if one["status"] == "failed"] == ["there is no family 'surprises'"]
    passed = next(one for one in report["cases"] if one["status"] == "passed")
    assert {"family", "case", "absolute", "relative", "tolerance", "outputs"} <= passed.keys()
    assert main(["check-goldens", str(tmp_path), "--family", "fp16_casts"]) == 0


def test_a_configuration_that_cannot_be_read_is_a_failure_among_others(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(case, tmp_path / "a" / "case"))
    (other / "config.json").write_text("{")
    assert main(["check-goldens", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 cases: 1 passed, 1 failed"


def test_a_folder_without_cases_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-goldens", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("0 cases")


def test_a_device_that_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["check-goldens", str(tmp_path), "--device", "cuda"]) == 1
    assert "no CUDA device" in capsys.readouterr().err


def test_inputs_may_be_stored_and_drawn(case: Path) -> None:
    configure(case, inputs_rule="noise = randn(2,3) with generator seed 7; z as stored")
    inputs = load_case(case).inputs
    assert inputs.keys() == {"noise", "z"}
    assert torch.equal(inputs["noise"], torch.randn(2, 3, generator=torch.Generator().manual_seed(7)))


# --- what agreement is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected", "passed"),
    [
        (torch.tensor([1.0, 100.0]), torch.tensor([1.0005, 100.0]), True),  # relative to the largest
        (torch.tensor([1.0, 100.0]), torch.tensor([1.01, 100.0]), False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.tensor([True]), torch.tensor([False]), False),
        (torch.tensor([1]), torch.tensor([1.0]), False),
        (torch.tensor([math.inf, 1.0]), torch.tensor([math.inf, 1.0]), True),
        (torch.tensor([math.inf, 1.0]), torch.tensor([2.0, 1.0]), False),
        (torch.tensor([math.nan, 1.0]), torch.tensor([math.nan, 1.0]), False),
        (torch.zeros(0, 3), torch.zeros(0, 3), True),
        (torch.zeros(0, 3), torch.zeros(3), False),
        (torch.zeros(2), torch.zeros(2), True),
        (torch.full((2,), 1e-30), torch.zeros(2), False),
        (Value(torch.tensor([7]), slack=2), torch.tensor([5]), True),
        (Value(torch.tensor([8]), slack=2), torch.tensor([5]), False),
        (Value(torch.tensor([0.1]), scale=2000.0), torch.tensor([0.2]), True),
        (Value(torch.tensor([1.0, 2.0, 9.0]), exempt=0.1, reach=5.0), torch.tensor([1.0, 2.0, 5.0]), True),
        (Value(torch.tensor([1.0, 3.0, 9.0]), exempt=0.1, reach=5.0), torch.tensor([1.0, 2.0, 5.0]), False),
        (Value(torch.tensor([1.0, 2.0, 99.0]), exempt=0.1, reach=5.0), torch.tensor([1.0, 2.0, 5.0]), False),
    ],
)
def test_agreement(actual: Tensor | Value, expected: Tensor, passed: bool) -> None:
    assert compare("x", actual, expected, 1e-4 - 1e-7).passed is passed


def test_parts_are_cut_out_of_what_was_computed() -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    expected = {
        "x.every_5th": x.flatten()[[0, 5, 10, 15, 20]],
        "x_every_2th": x[:1],
        "x.first4tokens": x.view(6, 4)[:4],
        "x.last2tokens": x.view(6, 4)[-2:],
        "x.first1rows": x[:1],
        "x.shape": torch.tensor([2, 3, 4]),
        "x.stats": torch.tensor([11.5, 7.0710678, 276.0, 0.0, 23.0]).double(),
    }
    assert all(one.passed for one in compare_outputs(expected, {"x": x}))
    assert [one.passed for one in compare_outputs({"y.shape": torch.tensor([2])}, {"x": x})] == [False]
    off = {"x.stats": torch.tensor([11.6, 7.0710678, 276.0, 0.0, 23.0]).double()}
    assert [one.passed for one in compare_outputs(off, {"x": x})] == [False]
