"""The families of distillation losses: every objective, on dense and sparse latents, with its gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..config import read_json
from ..training.distillation.consistency import consistency
from ..training.distillation.items import Clean, velocity_of
from ..training.distillation.mdt import (
    Guidance,
    Match,
    Objective,
    OwnSample,
    TeacherVelocity,
    data_teacher,
    guided_teacher,
    loss_by_time,
    match_at,
    mean_square,
    velocity_distillation,
    velocity_matching,
)
from ..training.flow_path import Samples, logistic_times
from ..weights.checkpoints import NETWORKS
from .case import GoldenCase
from .compare import FP32, Comparison, Value, compare_outputs

#: Tolerance for a difference divided by an interval of 0.01 and not normalised afterwards.
UNNORMALISED_DIFFERENCE = 1e-3

#: Tolerance for directional derivatives and everything computed from them.
DERIVATIVE = 1e-4


def distillation(case: GoldenCase) -> list[Comparison]:
    """The losses and gradients of a case; its two networks are stored one level up."""
    with torch.enable_grad():
        run = _Run(case)
        found = run.outputs()
    tolerance = _tolerance(run.settings)
    derived = {name: Value(x, tolerance) if _depends_on_derivative(name) else x for name, x in found.items()}
    return compare_outputs(case.outputs, {name: x for name, x in derived.items() if name in case.outputs})


def _tolerance(settings: dict[str, Any]) -> float:
    if settings["distill_type"] == "continuous":
        return DERIVATIVE
    return FP32 if settings["distill_type"] == "cm" or settings["d_norm"] else UNNORMALISED_DIFFERENCE


def _depends_on_derivative(name: str) -> bool:
    return name.endswith("tgt") or "loss" in name or "grad" in name


def network_of(folder: Path, name: str) -> nn.Module:
    """The student or the teacher of a family."""
    config = read_json(folder / f"{name}.json")
    network = NETWORKS[config["model_class"]](**config["args"])
    network.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return network


class _Run:
    """One case, computed."""

    def __init__(self, case: GoldenCase) -> None:
        self.case, self.settings = case, case.config["hparams"]
        inputs = case.inputs
        self.student = network_of(case.folder.parent, "student").to(case.device)
        self.clean = Clean(inputs["x_0"], inputs.get("coords"), inputs["cond"])
        self.velocity = velocity_of(self.student, self.clean)
        self.guidance: Guidance | None = None
        if case.config["teacher"]:
            teacher = network_of(case.folder.parent, "teacher").to(case.device).requires_grad_(False)
            self.guidance = Guidance(velocity_of(teacher, self.clean), velocity_of(teacher, self.clean.unconditional()))

    def times(self) -> Tensor:
        settings, raw = self.settings, self.case.inputs["t_raw"]
        earliest = settings["sigma_min"]
        if settings["distill_type"] != "continuous":
            earliest += settings["distill_interval"]
        schedule = settings["t_schedule"]
        if schedule["name"] == "uniform":
            return earliest + (1 - earliest) * raw
        if schedule["name"] == "logitNormal":
            return logistic_times(raw, earliest, **schedule["args"])
        raise ValueError(f"there is no time schedule {schedule['name']!r}")

    def objective(self) -> Objective:
        kind, interval = self.settings["distill_type"], self.settings["distill_interval"]
        if kind == "cm":
            return consistency(interval, self.settings["multiphase"])
        return velocity_matching(kind, "l2" if self.settings["d_norm"] else "none", interval)

    def teacher(self, guidance: float | None) -> TeacherVelocity:
        if self.guidance is None:
            return data_teacher(self.settings["sigma_min"])
        return guided_teacher(self.guidance, guidance)

    def outputs(self) -> dict[str, Tensor]:
        settings, inputs, t, samples = self.settings, self.case.inputs, self.times(), self.clean.samples
        if settings["rescale_t"] != 1.0:
            raise ValueError("rescaled times cannot be reproduced")
        found: dict[str, Tensor] = {"t": t}
        loss, by_sample = torch.zeros((), device=t.device), torch.zeros(len(t), device=t.device)
        if settings["lambda_vm"] > 0:
            match = match_at(
                self.objective(), self.velocity, self.teacher(settings["cfg_teacher_vm"]), inputs["x_0"],
                inputs["noise"], t, samples, settings["sigma_min"],
            )  # fmt: skip
            found |= self._of_match("vm.", match, t, settings["cfg_teacher_vm"])
            found["loss_vm"], part = self._weighed("lambda_vm", match.residual, samples)
            loss, by_sample = loss + found["loss_vm"], by_sample + part
        if settings["lambda_vd"] > 0:
            own = OwnSample.of(self.velocity, inputs["noise_fake"], samples.count)
            made = velocity_distillation(
                self.objective(), self.velocity, self.teacher(settings["cfg_teacher_vd"]), inputs["noise"],
                own, t, samples, settings["sigma_min"],
            )  # fmt: skip
            found |= self._of_match("vd.", made.match, t, settings["cfg_teacher_vd"])
            found |= {"vd.x_fake": made.sample, "vd.v_fake": made.velocity}
            found["loss_vd"], part = self._weighed("lambda_vd", made.residual, samples)
            loss, by_sample = loss + found["loss_vd"], by_sample + part
        loss.backward()
        bins = torch.tensor(loss_by_time(by_sample.detach(), t), dtype=torch.float64)
        return found | {"loss": loss, "time_bin_loss": bins.nan_to_num(-1.0)} | self._gradients()

    def _weighed(self, weight: str, residual: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
        """The weighted loss of a residual, and each sample's part of it."""
        factor = self.settings[weight]
        return factor * mean_square(residual), factor * samples.mean(residual.square())

    def _of_match(self, prefix: str, match: Match, t: Tensor, guidance: float | None) -> dict[str, Tensor]:
        found = {
            "pred": match.prediction,
            "tgt": match.target,
            "x_t": match.x_t,
            "v_teacher": match.teacher,
            "student_out_at_t": match.student,
            "model_t": 1000 * t,
        }
        if match.previous is not None:
            x, earlier, u = match.previous
            found |= {"x_prev": x, "model_t_prev": 1000 * earlier, "student_out_at_t_prev": u}
        if self.guidance is not None:
            found["teacher_cond_out"] = self.guidance.conditional(match.x_t, t)
            if guidance:
                found["teacher_uncond_out"] = self.guidance.unconditional(match.x_t, t)
        return {prefix + name: x for name, x in found.items()}

    def _gradients(self) -> dict[str, Tensor]:
        gradients: dict[str, Any] = {name: p.grad for name, p in self.student.named_parameters()}
        names = self.case.config["param_names_of_grad_norms"]
        norms = [0.0 if gradients[name] is None else float(gradients[name].norm()) for name in names]
        found = {f"grad/{name}": g for name, g in gradients.items() if g is not None}
        return found | {"grad_norms": torch.tensor(norms, dtype=torch.float64)}
