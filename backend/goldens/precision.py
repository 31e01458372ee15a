"""The family of half-precision casts: the dtype that each module computes in, and the outputs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..sparse.tensor import SparseTensor
from .case import TRACE, GoldenCase, filled
from .compare import FP16, Comparison, Value, compare_outputs
from .networks import network_of

#: Dtypes of the inputs and of the output of each module: ``{"blocks.0.norm1": (["float16"], "float16"), ...}``.
Trace = dict[str, tuple[list[str], str]]


def fp16_casts(case: GoldenCase) -> list[Comparison]:
    """A network in half precision: the dtypes of its modules and parameters, and its outputs where they are stored."""
    kind, args = network_of(case), case.config["args"]
    inputs = _inputs(case)
    half = _with_weights(kind(**args, use_fp16=True), case)
    trace, output = traced(half, inputs)
    problems = disagreements(case.config[TRACE], trace, half) + _stored_otherwise(case, half)
    outputs: dict[str, Tensor | Value] = {}
    for name, found in (("out_fp16_model", output), ("out_fp32_model", None)):
        if name in case.outputs:
            found = _with_weights(kind(**args), case)(*inputs) if found is None else found
            tensor = found.feats if isinstance(found, SparseTensor) else found
            half_scale = max(1.0, float(case.outputs[name].abs().max()))
            outputs[name] = Value(tensor, FP16, scale=half_scale) if name == "out_fp16_model" else tensor
    dtypes = Comparison("dtypes", float(len(problems)), math.inf if problems else 0.0, 0.0, "; ".join(problems))
    return [dtypes, *compare_outputs(case.outputs, outputs)]


def _with_weights(network: nn.Module, case: GoldenCase) -> nn.Module:
    """The network with the case's weights, or with its initial ones if the case stores dtypes only."""
    return filled(network, case.weights) if case.weights else network.to(case.device).eval()


def _inputs(case: GoldenCase) -> tuple[Any, ...]:
    """The network's arguments: the case's inputs, or any latents if the case stores dtypes only."""
    x, args = case.inputs, case.config["args"]
    if not x:
        channels = args.get("in_channels", args["latent_channels"])
        any_two = SparseTensor(torch.zeros(2, channels), torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]]))
        return (any_two.to(case.device),)
    state = case.voxels if "feats" in x else x["x"] if "x" in x else x["z"]
    return state, *(x[name] for name in ("t", "cond") if name in x)


def traced(network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Trace, Any]:
    """Call a network: the dtypes of each module's first call, its own under ``<model>``, and its output."""
    trace: Trace = {}
    hooks = []
    for path, module in network.named_modules():

        def record(_: nn.Module, args: tuple[Any, ...], out: Any, path: str = path or "<model>") -> None:
            tensors = [x for x in args if isinstance(x, (Tensor, SparseTensor))]
            trace.setdefault(path, ([_dtype(x) for x in tensors], _dtype(out)))

        hooks.append(module.register_forward_hook(record))
    try:
        output = network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return trace, output


def _dtype(x: Tensor | SparseTensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def disagreements(expected: dict[str, Any], trace: Trace, network: nn.Module) -> list[str]:
    """Where the dtypes of two traces of a network differ, in words.

    The reference's modules without parameters (identities, resampling) need not be modules here, and activations may be
    called as functions. Modules with parameters must have been called, except those inside a sparse convolution.
    """
    modules = dict(network.named_modules())
    problems = []
    for path, (inputs, output) in expected.items():
        if output == "SparseConvTensor":
            continue
        dtypes = ([name.removeprefix("sparse ") for name in inputs], output.removeprefix("sparse "))
        if path in trace:
            if trace[path] != dtypes:
                problems.append(f"{path}: {trace[path]}, not {dtypes}")
        elif path in modules and list(modules[path].parameters(recurse=False)):
            problems.append(f"{path} is not called")
    unknown = [path for path in trace if path not in expected and not isinstance(modules.get(path), nn.Identity)]
    return problems + [f"{path} is not called by the reference" for path in unknown]


def _stored_otherwise(case: GoldenCase, network: nn.Module) -> list[str]:
    """Parameters whose dtype differs from the reference's, in words."""
    state = network.state_dict()
    problems = []
    for field, dtype in (("half_parameters", torch.float16), ("float_parameters", torch.float32)):
        problems += [f"{key} is not {dtype}" for key in case.config.get(field, ()) if state[key].dtype != dtype]
    return problems
