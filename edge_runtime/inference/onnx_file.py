"""Where the weights of an ONNX file are, read from its bytes, without the package onnx."""

from __future__ import annotations

from collections.abc import Iterator

_HOLDS = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Which messages lead to a tensor, by the numbers of their fields in onnx.proto."""
_NAME, _DATA_LOCATION, _EXTERNAL = 8, 14, 1
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types of protobuf."""


def external_weights(model: bytes) -> str | None:
    """What is wrong, with its remedy, where values lie in another file than `model`; None where
    all are within it, or where it is no ONNX file."""
    try:
        names = _external_tensors(model)
    except (IndexError, ValueError):  # whoever loads it says what it is
        return None
    if not names:
        return None
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"the values of {len(names)} tensors ({shown}) lie in another file, which its SHA-256 does "
        "not cover. Export it again with torch.onnx.export(..., external_data=False), so that they "
        "are within the .onnx"
    )


def _external_tensors(model: bytes) -> list[str]:
    found = []
    waiting = [("model", memoryview(model))]
    while waiting:
        kind, message = waiting.pop()
        fields = list(_fields(message))
        if kind == "tensor" and (_DATA_LOCATION, _EXTERNAL) in fields:
            name = next((bytes(v) for n, v in fields if n == _NAME and not isinstance(v, int)), b"")
            found.append(name.decode(errors="replace"))
        waiting += [
            (_HOLDS[kind][number], value)
            for number, value in fields
            if number in _HOLDS[kind] and not isinstance(value, int)
        ]
    return found[::-1]


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each. Raises IndexError and ValueError where it is no protobuf."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == _LENGTH:
            size, at = _varint(message, at)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that begins there, and where the next field does."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
