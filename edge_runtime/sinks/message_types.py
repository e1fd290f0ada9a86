"""ROS 2 message types from .msg files, without ROS: their fields, and their hashes (REP-2016).

Ours are read from the files of `edge_interaction_msgs`, the single source of the wire types; the
few common ones that are used beside them stand here, as their packages define them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import WireError

PACKAGE = "edge_interaction_msgs"
_HERE = Path(__file__).resolve().parent.parent
_IN_CHECKOUT = _HERE.parent / "ros2_ws" / "src" / PACKAGE / "msg"
_IN_PACKAGE = _HERE / "message_files"

COMMON = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "diagnostic_msgs/DiagnosticArray": "std_msgs/Header header\nDiagnosticStatus[] status",
    "diagnostic_msgs/DiagnosticStatus": (
        "byte level\nstring name\nstring message\nstring hardware_id\nKeyValue[] values"
    ),
    "diagnostic_msgs/KeyValue": "string key\nstring value",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/PointStamped": "std_msgs/Header header\nPoint point",
    "geometry_msgs/Twist": "Vector3 linear\nVector3 angular",
    "geometry_msgs/TwistStamped": "std_msgs/Header header\nTwist twist",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z",
    "rmw_dds_common/Gid": "uint8[16] data",
    "rmw_dds_common/NodeEntitiesInfo": (
        "string<=256 node_namespace\nstring<=256 node_name\n"
        "Gid[] reader_gid_seq\nGid[] writer_gid_seq"
    ),
    "rmw_dds_common/ParticipantEntitiesInfo": (
        "Gid gid\nNodeEntitiesInfo[] node_entities_info_seq"
    ),
    "std_msgs/Bool": "bool data",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
    "std_msgs/String": "string data",
}
"""By `package/Name`."""

PRIMITIVES = {
    "int8": 2,
    "uint8": 3,
    "int16": 4,
    "uint16": 5,
    "int32": 6,
    "uint32": 7,
    "int64": 8,
    "uint64": 9,
    "float32": 10,
    "float64": 11,
    "bool": 15,
    "byte": 16,
    "string": 17,
}
"""By name, the type_id that REP-2016 gives it."""
_NESTED, _BOUNDED_STRING = 1, 21
_FIXED_ARRAY, _BOUNDED_ARRAY, _UNBOUNDED_ARRAY = 48, 96, 144

_CONSTANT = re.compile(r"(\w+) +([A-Z][A-Z0-9_]*) *= *(\S+)")
_FIELD = re.compile(
    r"(?P<type>[A-Za-z]\w*(?:/[A-Za-z]\w*)?)(?:<=(?P<length>\d+))?"
    r"(?P<array>\[(?:(?P<most><=)?(?P<size>\d+))?\])? +(?P<name>[a-z][a-z0-9_]*)"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    name: str
    type: str
    """A key of PRIMITIVES, or another message as `package/Name`."""
    array: bool = False
    size: int = 0
    """Of an array: its length, or the longest it may be; 0: any."""
    fixed: bool = False
    """An array that always has `size` elements."""
    longest: int = 0
    """Of a string, in characters; 0: any."""

    @property
    def nested(self) -> bool:
        return self.type not in PRIMITIVES


@dataclass(frozen=True, slots=True)
class MessageType:
    """A message as its file defines it."""

    name: str
    """`package/Name`."""
    fields: tuple[Field, ...]
    constants: tuple[tuple[str, int], ...] = ()

    @property
    def package(self) -> str:
        return self.name.partition("/")[0]

    @property
    def ros_name(self) -> str:
        """As ROS tools print it: `package/msg/Name`."""
        return self.name.replace("/", "/msg/")

    @property
    def dds_name(self) -> str:
        """As it is called on the wire: `package::msg::dds_::Name_`."""
        return self.name.replace("/", "::msg::dds_::") + "_"


def parse(name: str, text: str) -> MessageType:
    """The message `package/Name` that a .msg file's text defines. Raises WireError for a line that
    is none of what our files use: fields without defaults, and integer constants."""
    fields, constants = [], []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if (constant := _CONSTANT.fullmatch(line)) is not None:
            constants.append((constant[2], int(constant[3])))
        elif (found := _FIELD.fullmatch(line)) is not None:
            fields.append(_field(name.partition("/")[0], found))
        else:
            raise WireError(f"{name}, line {number}: {line!r} is no field and no constant.")
    return MessageType(name, tuple(fields), tuple(constants))


def _field(package: str, found: re.Match[str]) -> Field:
    kind = found["type"]
    if kind not in PRIMITIVES and "/" not in kind:
        kind = f"{package}/{kind}"
    return Field(
        name=found["name"],
        type=kind,
        array=found["array"] is not None,
        size=int(found["size"] or 0),
        fixed=found["size"] is not None and found["most"] is None,
        longest=int(found["length"] or 0),
    )


def message_folder() -> Path:
    """The folder that holds our .msg files, in a checkout or in an installed package.

    Raises WireError when this installation has none.
    """
    for folder in (_IN_CHECKOUT, _IN_PACKAGE):
        if (folder / "MicroTurn.msg").is_file():
            return folder
    raise WireError(
        f"no message files in {_IN_CHECKOUT} or {_IN_PACKAGE}; install edge-runtime again"
    )


@functools.cache
def message_type(name: str) -> MessageType:
    """The message `package/Name`: one of ours, or a common one. Raises WireError for others."""
    package, _, short = name.partition("/")
    if name in COMMON:
        return parse(name, COMMON[name])
    path = message_folder() / f"{short}.msg"
    if package != PACKAGE or not path.is_file():
        raise WireError(f"There is no message {name}.")
    return parse(name, path.read_text(encoding="utf-8"))


@functools.cache
def type_hash(name: str) -> str:
    """`RIHS01_` and the SHA-256 of the type's description, as ROS 2 from Iron on compares it."""
    referenced = sorted(set(_referenced(message_type(name))))
    description = {
        "type_description": _description(message_type(name)),
        "referenced_type_descriptions": [_description(message_type(one)) for one in referenced],
    }
    text = json.dumps(description, ensure_ascii=True, separators=(", ", ": "))
    return "RIHS01_" + hashlib.sha256(text.encode()).hexdigest()


def _referenced(message: MessageType) -> Iterator[str]:
    for field in message.fields:
        if field.nested:
            yield field.type
            yield from _referenced(message_type(field.type))


def _description(message: MessageType) -> dict[str, object]:
    return {
        "type_name": message.ros_name,
        "fields": [{"name": f.name, "type": _field_type(f)} for f in message.fields],
    }


def _field_type(field: Field) -> dict[str, object]:
    if field.nested:
        type_id = _NESTED
    else:
        type_id = _BOUNDED_STRING if field.longest else PRIMITIVES[field.type]
    if field.array:
        bounded = _FIXED_ARRAY if field.fixed else _BOUNDED_ARRAY
        type_id += bounded if field.size else _UNBOUNDED_ARRAY
    return {
        "type_id": type_id,
        "capacity": field.size,
        "string_capacity": field.longest,
        "nested_type_name": field.type.replace("/", "/msg/") if field.nested else "",
    }
