"""A correction of the student's samples as a whole: what makes them may not differ from the teacher's velocity.

A second network learns the *noising velocity*: the velocity of the path from the student's own samples to noise. Where
it differs from the teacher's, the samples have another distribution than the teacher's, and move.

Everything here is a pure function of plain tensors, for both dense and sparse states (see ``flow_path``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..flow_path import Samples, path_velocity, state_at
from .mdt import NORM_OFFSET, OwnSample, TeacherVelocity, Velocity, pulled


@dataclass(frozen=True)
class Correction:
    """Two residuals, whose squares are losses: of the student, and of the network of the noising velocity."""

    student: Tensor
    noising: Tensor


def corrected(
    noising: Velocity,
    teacher: TeacherVelocity,
    own: OwnSample,
    noise: Tensor,
    t: Tensor,
    samples: Samples,
    sigma_min: float,
) -> Correction:
    """Move a student's one-step samples by sg(v_N(x_t, t) - v_T(x_t, t)), and fit v_N to them.

    x_t is the sample x_f diffused to ``t``. v_N is fitted by flow matching, |v_N(x_t, t) - (noise - x_f)|^2. The
    difference of the velocities is, up to a factor, the gradient of the Kullback-Leibler divergence of the student's
    noised samples from the teacher's: FreeFlow's correction objective (Tong et al. 2025, arXiv 2511.19428), variational
    score distillation in terms of velocities. With a small weight it is the long-skip regulariser of rCM (Zheng et al.
    2025, arXiv 2510.08431: L_sCM + 0.01 L_DMD). It is divided by the root mean square of the teacher's own error
    v_T - (noise - x_f) in each sample, plus 0.1; DMD (Yin et al. 2024) divides by the mean of its absolute values.
    """
    x_t = state_at(own.sample, noise, t, samples, sigma_min)
    straight = path_velocity(own.sample, noise, sigma_min)
    v_n, v_t = noising(x_t, t), teacher(x_t, t, own.sample, noise)
    size = samples.rms(v_t - straight) + NORM_OFFSET
    gap = (v_n.detach() - v_t) / samples.spread(size, v_t)
    return Correction(pulled(own.velocity, gap), v_n - straight)
