"""A matting network as an ONNX file of a few hundred bytes: bright pixels are the object.

ONNX files are protocol buffers. These bytes are written here, because the package ``onnx`` would be needed for nothing
else. The numbers of fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

#: How steep the network's answer is.
GAIN = 8

FLOAT, INTS = 1, 7  # TensorProto.FLOAT, AttributeProto.INTS


def bright_pixels(side: int, *, logits: bool) -> bytes:
    """A network from [1, 3, side, side] to [1, 1, side, side]: the channels' mean times ``GAIN``, through a sigmoid
    unless ``logits`` are wanted."""
    last = "output" if logits else "eight"
    nodes = [
        _node("ReduceMean", ("input",), "one", _integers("axes", 1)),
        _node("Add", ("one", "one"), "two"),
        _node("Add", ("two", "two"), "four"),
        _node("Add", ("four", "four"), last),
    ]
    if not logits:
        nodes.append(_node("Sigmoid", ("eight",), "output"))
    graph = b"".join(_part(1, node) for node in nodes) + _part(2, b"tiny")
    graph += _part(11, _value("input", 1, 3, side, side)) + _part(12, _value("output", 1, 1, side, side))
    return _number(1, 8) + _part(7, graph) + _part(8, _number(2, 13))  # IR version 8, operators of version 13


def _node(operator: str, sources: tuple[str, ...], target: str, *attributes: bytes) -> bytes:
    node = (
        b"".join(_part(1, source.encode()) for source in sources)
        + _part(2, target.encode())
        + _part(4, operator.encode())
    )
    return node + b"".join(_part(5, attribute) for attribute in attributes)


def _integers(name: str, *values: int) -> bytes:
    return _part(1, name.encode()) + b"".join(_number(8, value) for value in values) + _number(20, INTS)


def _value(name: str, *shape: int) -> bytes:
    sides = b"".join(_part(1, _number(1, side)) for side in shape)
    return _part(1, name.encode()) + _part(2, _part(1, _number(1, FLOAT) + _part(2, sides)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
