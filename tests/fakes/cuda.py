"""A CUDA device that is pretended: its tensors say ``cuda:0``, but their values are on the CPU and computed there.

It refuses what a GPU would refuse, tensors on two devices in one operation, and counts what makes a GPU slow where
the CPU does not notice: **launches** of kernels, and **waits**, where the host needs a number from the device, or sends
one from ordinary memory, before it can go on. Both are counted by the line in ``backend`` that causes them. So are the
**bytes** that kernels read and write, and the **operations** of products. And it knows how much **memory** its tensors
hold, and held at most.

The counts are those of eager PyTorch, estimated: an operation is one launch, with a few exceptions in ``LAUNCHES``, and
moves each of its tensors once. What a kernel needs for itself, and gaps between tensors, are not in the memory. Values
are what the CPU computes, so rounding, and the order of additions on a GPU, are not tested here. Tensors without values
(``meta``) are counted too: a network of full size takes no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from .counts import Counts, line_of_backend

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
aten = torch.ops.aten

#: Operations of several kernels.
LAUNCHES = {"sort": 6, "argsort": 6, "_unique2": 10, "nonzero": 4, "cumsum": 2, "bincount": 6, "topk": 3, "aminmax": 2}
#: Operations of none. (Views have none either.)
NO_LAUNCH = {"empty", "new_empty", "empty_like", "empty_strided", "_unsafe_view", "_reshape_alias", "detach", "resize_"}
#: Operations whose result or its size the host has to know.
WAITS = {
    "_local_scalar_dense": 1,
    "_unique2": 1,
    "bincount": 2,
    "equal": 1,
    "is_nonzero": 1,
    "masked_select": 1,
    "nonzero": 1,
    "unique_consecutive": 1,
    "unique_dim": 1,
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
#: Operations that read as much of their first tensor as they write.
GATHERS = {"index", "index_select", "embedding", "gather"}
MASK_LAUNCHES = 4  # more than for an index: a mask is turned into one


class Gpu(Counts):
    """The device: what it was asked to do, and how tensors come there."""

    def tensor(self, values: Tensor) -> Tensor:
        """A tensor on the device; nothing is counted."""
        return OnGpu(values.detach().clone())

    def network(self, network: nn.Module) -> Any:
        """The network with its weights on the device, for inference; nothing is counted."""
        return _sent(network).eval()


def _sent(network: nn.Module, *_: Any) -> nn.Module:
    """The network itself, now with its weights on the device and without gradients, which need CUDA."""
    state = {name: OnGpu(_held(value).detach().clone()) for name, value in network.state_dict().items()}
    network.requires_grad_(False).load_state_dict(state, assign=True)
    return network


_gpu = Gpu()  # the one that counts at the moment


class OnGpu(Tensor):
    """A tensor that says ``cuda:0``. ``held`` has its values."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CUDA,
        )
        made.held = held
        _gpu.hold(made)
        return made

    def __init__(self, held: Tensor) -> None:
        pass

    def __repr__(self, *, tensor_contents: Any = None) -> Any:  # type: ignore[override]
        return f"OnGpu({list(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return run(func, args, kwargs or {})

    # Below: what PyTorch's own methods do with the help of CUDA, which this build lacks, in terms of operators.

    def __getitem__(self, index: Any) -> Any:
        out, axis = self, 0
        tensors: list[Tensor | None] = []
        for one in _without_ellipsis(self, index if isinstance(index, tuple) else (index,)):
            if isinstance(one, list):
                one = torch.tensor(one)  # on the host, as PyTorch does
            if one is None:
                out, axis = aten.unsqueeze(out, axis), axis + 1
                tensors.append(None)
            elif isinstance(one, slice):
                if one != slice(None):
                    out = aten.slice(out, axis, one.start, one.stop, one.step or 1)
                axis += 1
                tensors.append(None)
            elif isinstance(one, Tensor):
                axis += one.ndim if one.dtype == torch.bool else 1
                tensors.append(one)
            else:
                out = aten.select(out, axis, int(one))
        return out if all(one is None for one in tensors) else aten.index(out, tensors)

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if not any(isinstance(one, Tensor | list) for one in parts):
            target = self[index]
            aten.copy_(target, value) if isinstance(value, Tensor) else aten.fill_(target, value)
            return
        if not all(isinstance(one, Tensor) or one == slice(None) for one in parts):
            raise NotImplementedError("assigning with tensors and other indices at once")
        if not isinstance(value, Tensor):
            value = aten.full([], value, dtype=self.dtype, device=CUDA)
        aten.index_put_(self, [None if isinstance(one, slice) else one for one in parts], value.to(self.dtype))

    def to(self, *args: Any, **kwargs: Any) -> Any:
        dtype, device = kwargs.get("dtype"), kwargs.get("device")
        for one in args:
            if isinstance(one, torch.dtype):
                dtype = one
            elif isinstance(one, str | torch.device):
                device = one
            elif isinstance(one, Tensor):
                dtype, device = one.dtype, one.device
        stays = device is None or torch.device(device).type == "cuda"
        if stays and dtype in (None, self.dtype):
            return self
        return aten._to_copy(self, dtype=dtype, device=None if device is None else torch.device(device))

    def contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> Any:
        whole = self.held.is_contiguous(memory_format=memory_format)
        return self if whole else aten.clone(self, memory_format=memory_format)

    def copy_(self, source: Tensor, *_: Any) -> Any:
        return aten.copy_(self, source)

    def new_tensor(self, data: Any, dtype: Any = None, *_: Any, **__: Any) -> Any:
        return torch.tensor(data, dtype=dtype or self.dtype, device=CUDA)

    def item(self) -> Any:
        return aten._local_scalar_dense(self)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def cpu(self, *_: Any) -> Any:
        return aten._to_copy(self, device=CPU)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        return int(self.item())

    def __invert__(self) -> Any:
        return aten.bitwise_not(self)

    def float(self, *_: Any) -> Any:
        return self.to(torch.float32)

    def double(self, *_: Any) -> Any:
        return self.to(torch.float64)

    def half(self, *_: Any) -> Any:
        return self.to(torch.float16)

    def long(self, *_: Any) -> Any:
        return self.to(torch.int64)

    def int(self, *_: Any) -> Any:
        return self.to(torch.int32)

    def bool(self, *_: Any) -> Any:
        return self.to(torch.bool)


def _without_ellipsis(x: Tensor, index: tuple[Any, ...]) -> tuple[Any, ...]:
    """An index with as many full slices as the ellipsis in it stands for."""
    for place, one in enumerate(index):
        if one is Ellipsis:
            masks = [i for i in index if isinstance(i, Tensor) and i.dtype == torch.bool]
            used = sum(i is not None and i is not Ellipsis for i in index) + sum(i.ndim - 1 for i in masks)
            return (*index[:place], *[slice(None)] * (x.ndim - used), *index[place + 1 :])
    return index


class _Mode(TorchDispatchMode):
    """Sees the operations that have no tensor on the device yet, such as ``torch.zeros(..., device="cuda")``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator on the values held, count it, and refuse it if its tensors are on two devices."""
    name = func._schema.name.removeprefix("aten::")
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    on_gpu = [one for one in tensors if isinstance(one, OnGpu)]
    device = kwargs.get("device")
    to_gpu = device is not None and torch.device(device).type == "cuda"
    if not on_gpu and not to_gpu:
        return func(*args, **kwargs)
    if name in ("_to_copy", "copy_"):
        return _copy(func, name, args, kwargs)
    on_host = [one for one in tensors if not isinstance(one, OnGpu) and one.ndim]
    if on_host and (name not in INDEXING or not isinstance(args[0], OnGpu)):
        where = [(list(one.shape), one.device) for one in tensors]
        raise RuntimeError(f"tensors on two devices in {func} at {line_of_backend()}: {where}")
    _count(func, name, args, kwargs, hosts=len(on_host))
    kept = {"device": CPU} if device is not None else {}
    out = func(*_alike(tree_map(_held, args)), **tree_map(_held, kwargs) | kept)
    if name in ("_local_scalar_dense", "equal", "is_nonzero"):
        return out
    if not (func.is_view or name in NO_LAUNCH):
        gathered = name in GATHERS and isinstance(out, Tensor)
        _gpu.move(([out, out, *tensors[1:]] if gathered else tensors, out))
    if formula := flop_registry.get(func.overloadpacket):
        _gpu.compute(formula(*args, **kwargs, out_val=out))
    written = {id(one.held): one for one in _written(func, args, kwargs)}

    def wrap(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        return written[id(one)] if id(one) in written else OnGpu(one)

    return tree_map(wrap, out)


def _count(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], hosts: int) -> None:
    """Count an operator that got ``hosts`` tensors from the host as indices."""
    for _ in range(hosts):
        _gpu.wait("index on the host")
    if name in WAITS:
        _gpu.wait(name, WAITS[name])
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        _gpu.wait(name)
    masked = name in INDEXING and any(isinstance(one, Tensor) and one.dtype == torch.bool for one in args[1])
    if masked:
        _gpu.wait("mask")
    launches = 0 if name in NO_LAUNCH or func.is_view else LAUNCHES.get(name, 1)
    _gpu.launch(launches + MASK_LAUNCHES * masked)


def _copy(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A copy, to another device or another dtype. To or from the host's ordinary memory it waits."""
    source = args[1] if name == "copy_" else args[0]
    device = kwargs.get("device")
    if name == "copy_":
        to_gpu = isinstance(args[0], OnGpu)
    else:
        to_gpu = isinstance(source, OnGpu) if device is None else torch.device(device).type == "cuda"
    if to_gpu == isinstance(source, OnGpu):
        _gpu.launch()
        _gpu.move(source)
    else:
        _gpu.wait("sent to the device" if to_gpu else "read from the device")
    kept = {} if device is None else {"device": CPU}
    out = func(*_alike(tree_map(_held, args)), **kwargs | kept)
    if to_gpu == isinstance(source, OnGpu):
        _gpu.move(out)
    if name == "copy_":
        return args[0]
    return OnGpu(out.clone() if out is _held(source) else out) if to_gpu else out.clone()


def _held(one: Any) -> Any:
    return one.held if isinstance(one, OnGpu) else one


def _alike(args: Any) -> Any:
    """Arguments of which none has values if one of them has none: operators do not mix the two."""
    args = list(args)
    if not any(isinstance(one, Tensor) and one.is_meta for one in tree_leaves(args)):
        return args
    return tree_map(lambda one: one.to("meta") if isinstance(one, Tensor) else one, args)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[OnGpu]:
    """The arguments that an operator writes to: it returns these, not new tensors."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if isinstance(value, OnGpu):
                yield value


def _attention(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Attention as one launch. (As an operator it would ask CUDA which backends it has.)"""

    def attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
        given = [one for one in (q, k, v, attn_mask) if one is not None]
        if not any(isinstance(one, OnGpu) for one in given):
            return plain(q, k, v, attn_mask=attn_mask, **options)
        if not all(isinstance(one, OnGpu) for one in given):
            raise RuntimeError(f"tensors on two devices in attention at {line_of_backend()}")
        _gpu.launch()
        *held, mask = _alike(map(_held, (q, k, v, attn_mask)))
        out = plain(*held, attn_mask=mask, **options)
        _gpu.move((given, out))
        _gpu.compute(flop_registry[aten._scaled_dot_product_flash_attention](q, k, v))
        return OnGpu(out)

    return attention


def _tensor(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``torch.tensor`` makes the tensor on the host and sends it."""

    def tensor(data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
        if device is None or torch.device(device).type != "cuda":
            return plain(data, dtype=dtype, device=device, **options)
        return plain(data, dtype=dtype, device=CPU, **options).to(device)

    return tensor


def _module_to(plain: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def to(network: nn.Module, device: Any, *args: Any) -> nn.Module:
        on_gpu = not isinstance(device, torch.dtype) and torch.device(device).type == "cuda"
        return _sent(network) if on_gpu else plain(network, device, *args)

    return to


def _rms_norm(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """One launch, as on CUDA. On the CPU it is made of several operators."""

    def rms_norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
        if not isinstance(x, OnGpu):
            return plain(x, shape, weight, eps)
        _gpu.launch()
        out = plain(x.held, shape, _held(weight), eps)
        _gpu.move((x, weight, out))
        return OnGpu(out)

    return rms_norm


def _nonzero(plain: Callable[..., Any]) -> Callable[..., Any]:
    def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
        if not isinstance(x, OnGpu):
            return plain(x, as_tuple=as_tuple)
        found = aten.nonzero(x)
        return tuple(aten.unbind(found, 1)) if as_tuple else found

    return nonzero


@contextmanager
def pretended_cuda() -> Iterator[Gpu]:
    """Pretend that there is a CUDA device, and count what it is asked to do."""
    from backend.mesh.extract.case_tables import tables_on

    global _gpu
    before, _gpu = _gpu, Gpu()
    patches: list[Any] = [
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "_lazy_init"),
        mock.patch.object(torch.cuda, "synchronize", side_effect=lambda device=None: _gpu.wait("synchronize")),
        mock.patch.object(torch.cuda, "empty_cache"),
        mock.patch.object(torch.cuda, "get_device_name", return_value="pretended"),
        mock.patch.object(torch.cuda, "get_device_capability", return_value=(7, 5)),  # no kernels of ours
        mock.patch.object(nn.Module, "to", _module_to(nn.Module.to)),
        mock.patch.object(torch, "tensor", _tensor(torch.tensor)),
        mock.patch.object(torch, "nonzero", _nonzero(torch.nonzero)),
        mock.patch.object(F, "scaled_dot_product_attention", _attention(F.scaled_dot_product_attention)),
        mock.patch.object(F, "rms_norm", _rms_norm(F.rms_norm)),
    ]
    for patch in patches:
        patch.start()
    try:
        with _Mode():
            yield _gpu
    finally:
        for patch in reversed(patches):
            patch.stop()
        _gpu = before
        tables_on.cache_clear()  # a real device must not find tables of this one
