"""What a model folder promises: `manifest.yaml`, typed, closed and checked before anything runs."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from edge_runtime import strict_yaml
from edge_runtime.errors import ManifestError
from edge_runtime.inference.onnx_file import external_weights
from edge_runtime.micro_turn import ACTION_NAME, TURN_SAMPLES, Delegation, EventKind

log = logging.getLogger(__name__)
MANIFEST_FILE = "manifest.yaml"
Precision = Literal["fp32", "fp16", "int8"]
"""Of a graph. fp16 is made of the fp32 graph when it is wanted; int8 is a file of its own, since
it takes a calibration."""
InputRole = Literal["audio", "frame", "frame_valid", "events", "status"]
OutputRole = Literal["floor", "act", "action", "delegate", "transcript", "seen"]
Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
_RANKS = {"audio": 3, "frame": 4, "transcript": 3}
"""Dimensions of a tensor by its role, 2 for the others; the first is the batch, always 1."""
WHILE_SILENT = ("listen", "backchannel", "speak")
WHILE_SPEAKING = ("yield", "hold")
"""The states of the floor that are possible while the device is silent, and while it speaks."""
STATUS = ("speaking", "seconds_left", "pending", "result_ready", "link_up")
"""What a model can be told of the device and of delegated work."""
Shape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class DescribedFile(_Closed):
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("file")
    @classmethod
    def _inside(cls, file: str) -> str:
        """A folder from a stranger must not make the runtime open files elsewhere."""
        paths = (PurePosixPath(file), PureWindowsPath(file))
        if not paths[0].name or any(path.anchor or ".." in path.parts for path in paths):
            raise ValueError("must name a file inside the model's folder, such as model.onnx")
        return file


class ModelFile(DescribedFile):
    opset: int = Field(ge=11)


class LanguageModel(DescribedFile):
    """A character n-gram that the transcript is read with; see `CharacterModel`."""

    weight: float = Field(0.35, ge=0.0, le=2.0)
    bonus: float = Field(0.9, ge=-5.0, le=5.0)


class InputTensor(_Closed):
    name: str
    role: InputRole
    shape: Shape
    dtype: Literal["float32", "uint8"]


class OutputTensor(_Closed):
    name: str
    role: OutputRole
    shape: Shape
    dtype: Literal["float32"]


class StateTensor(_Closed):
    """A tensor that one micro-turn gives to the next."""

    input: str
    output: str
    shape: Shape
    dtype: Literal["float32"] = "float32"
    initial: float = Field(0.0, allow_inf_nan=False)


class Vocabularies(_Closed):
    """Names of the classes, in the order of the tensors. `symbols[0]` is the CTC blank."""

    floor: tuple[str, ...]
    act: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    delegate: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    """What a picture may show; each by itself. `present`: somebody is there."""


class Decoding(_Closed):
    """Probabilities at which a decision is taken, chosen on the development set."""

    speak: Probability = 0.5
    backchannel: Probability = 0.5
    yield_: Probability = Field(0.5, alias="yield")
    hesitate: Probability | None = None
    """From here on the device falls silent while it speaks, and may yet go on. It yields when one
    of these micro-turns meant it to with a chance of `yield`. None: it yields or does not."""
    resume: Probability = 0.1
    """Below it goes on with what it was saying."""
    action: Probability = 0.5
    delegate: Probability = 0.5

    @model_validator(mode="after")
    def _hesitates_before_it_yields(self) -> Self:
        if self.hesitate is None:
            return self
        if self.resume > self.hesitate:
            raise ValueError(f"resume {self.resume} must not be above hesitate {self.hesitate}")
        if self.hesitate > self.yield_:
            raise ValueError(f"hesitate {self.hesitate} must not be above yield {self.yield_}")
        return self


class Manifest(_Closed):
    format: Literal[1]
    name: str
    version: str
    licence: str
    model: ModelFile
    """The float32 graph."""
    variants: dict[Literal["int8"], ModelFile] = {}
    """The same network, with the same inputs, outputs and states, in other precisions."""
    language_model: LanguageModel | None = None
    tick_ms: Literal[200]
    sample_rate_hz: Literal[16000]
    inputs: tuple[InputTensor, ...]
    outputs: tuple[OutputTensor, ...]
    states: tuple[StateTensor, ...] = ()
    vocabularies: Vocabularies
    decoding: Decoding = Decoding()
    evaluation: dict[str, Any] = {}
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def model_path(self) -> Path:
        return self.folder / self.model.file

    def graph(self, precision: Precision = "fp32") -> ModelFile:
        """The file that this precision is, or is made of. Raises ManifestError for int8 without."""
        if precision != "int8":
            return self.model
        if "int8" not in self.variants:
            raise ManifestError(
                f"{self.folder} has no int8 graph (`variants` in its manifest). Make one with "
                "`edge-runtime calibrate`, or choose the precision fp16 or fp32."
            )
        return self.variants["int8"]

    def input(self, role: InputRole) -> InputTensor | None:
        return next((tensor for tensor in self.inputs if tensor.role == role), None)

    def output(self, role: OutputRole) -> OutputTensor | None:
        return next((tensor for tensor in self.outputs if tensor.role == role), None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        audio = self.input("audio")
        if audio is None or audio.shape != (1, 2, TURN_SAMPLES) or audio.dtype != "float32":
            raise ValueError(f"inputs: an audio tensor float32 (1, 2, {TURN_SAMPLES}) is required")
        frame = self.input("frame")
        if frame and (frame.dtype != "uint8" or len(frame.shape) != 4 or frame.shape[3] != 3):
            raise ValueError("inputs: the frame must be uint8 (1, height, width, 3)")
        if any(t.dtype != "float32" for t in self.inputs if t.role != "frame"):
            raise ValueError("inputs: every tensor but the frame must be float32")
        if self.output("floor") is None:
            raise ValueError("outputs: a floor tensor is required")
        if self.language_model and self.output("transcript") is None:
            raise ValueError("language_model: there is no transcript to read with it")
        self._check_names()
        self._check_floor()
        self._check_actions()
        self._check_delegate()
        self._check_lengths()
        return self

    def _check_names(self) -> None:
        """Two tensors of one name would share a buffer; two classes of one name, a meaning."""
        states = self.states
        _unique("inputs", [*(t.name for t in self.inputs), *(s.input for s in states)])
        _unique("outputs", [*(t.name for t in self.outputs), *(s.output for s in states)])
        _unique("inputs, roles", (t.role for t in self.inputs))
        _unique("outputs, roles", (t.role for t in self.outputs))
        for name, words in self.vocabularies:
            _unique(f"vocabularies.{name}", words)

    def _check_floor(self) -> None:
        names = set(self.vocabularies.floor)
        if missing := {"listen", "speak"} - names:
            raise ValueError(f"vocabularies.floor: lacks {', '.join(sorted(missing))}")
        known = (*WHILE_SILENT, *WHILE_SPEAKING)
        if unknown := sorted(names - set(known)):
            raise ValueError(
                f"vocabularies.floor: {', '.join(unknown)} is unknown; it may have "
                f"{', '.join(known)}"
            )
        if len(names & set(WHILE_SPEAKING)) == 1:
            raise ValueError(
                "vocabularies.floor: yield and hold go together, or neither is there: a softmax "
                "over one of them is always sure"
            )

    def _check_actions(self) -> None:
        names = self.vocabularies.action
        if names and "none" not in names:
            raise ValueError(
                "vocabularies.action: lacks none: a softmax over actions alone always does one"
            )
        if wrong := [name for name in names if not re.fullmatch(ACTION_NAME, name)]:
            raise ValueError(
                f"vocabularies.action: {', '.join(map(repr, wrong))} is no name of an action; it "
                f"is written in small letters, digits and _, as in stop_motion ({ACTION_NAME})"
            )

    def _check_delegate(self) -> None:
        names, known = set(self.vocabularies.delegate), [kind.value for kind in Delegation]
        if names and (missing := {"none", "delegate"} - names):
            raise ValueError(
                f"vocabularies.delegate: lacks {', '.join(sorted(missing))}; it may have "
                f"{', '.join(known)}"
            )
        if unknown := sorted(names - set(known)):
            raise ValueError(
                f"vocabularies.delegate: {', '.join(unknown)} is unknown; it may have "
                f"{', '.join(known)}"
            )

    def _check_lengths(self) -> None:
        words = self.vocabularies
        sizes = {
            "floor": words.floor,
            "act": words.act,
            "action": words.action,
            "delegate": words.delegate,
            "transcript": words.symbols,
            "seen": words.seen,
            "events": words.events,
            "status": words.status,
        }
        tensors: list[InputTensor | OutputTensor] = [*self.inputs, *self.outputs]
        for tensor in tensors:
            rank = _RANKS.get(tensor.role, 2)
            if len(tensor.shape) != rank or tensor.shape[0] != 1:
                raise ValueError(
                    f"{tensor.name}: shape {list(tensor.shape)} must have {rank} dimensions and "
                    "start with 1"
                )
            names = sizes.get(tensor.role)
            if names is not None and tensor.shape[-1] != len(names):
                raise ValueError(
                    f"{tensor.name}: shape {list(tensor.shape)} has {tensor.shape[-1]} classes, "
                    f"its vocabulary has {len(names)}"
                )


def _unique(place: str, names: Iterable[str]) -> None:
    seen = list(names)
    if twice := sorted({name for name in seen if seen.count(name) > 1}):
        raise ValueError(f"{place}: {', '.join(map(repr, twice))} is there more than once")


def _warn_of_unknown_inputs(path: Path, words: Vocabularies) -> None:
    """A newer model may be told more than this runtime knows: that is always zero."""
    told = {
        "events": (words.events, [kind.value for kind in EventKind]),
        "status": (words.status, STATUS),
    }
    for role, (names, known) in told.items():
        if unknown := [name for name in names if name not in known]:
            log.warning(
                "%s: vocabularies.%s: %s is unknown here and always zero; known are %s",
                path, role, ", ".join(unknown), ", ".join(known),
            )  # fmt: skip


def load_manifest(folder: Path) -> Manifest:
    """Read and check `folder/manifest.yaml`. Raises ManifestError with the key that is wrong; names
    of events and of the status that this runtime does not know are only warned of."""
    path = folder / MANIFEST_FILE
    try:
        data = strict_yaml.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(
            f"{folder.absolute()} is not a model folder: it has no {MANIFEST_FILE}. Give a folder "
            "that was written by the factory's export (engines/reference is one), with "
            "engine.folder or --engine."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8
        raise ManifestError(f"{path} cannot be read: {error}. Export the model again.") from error
    if not isinstance(data, dict):
        raise ManifestError(
            f"{path} must be a mapping, not {type(data).__name__}. Export the model again."
        )
    if "folder" in data:
        raise ManifestError(f"{path}: folder is no key of a manifest. Remove it.")
    try:
        manifest = Manifest.model_validate({**data, "folder": folder})
    except ValidationError as error:
        raise ManifestError(_explain(path, error)) from None
    _warn_of_unknown_inputs(path, manifest.vocabularies)
    return manifest


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "the manifest"
        given = problem.get("input")
        shown = "" if isinstance(given, dict | list | tuple) else f" (given: {given!r})"
        lines.append(f"  {where}: {problem['msg']}{shown}")
    return "\n".join(
        [
            f"{path} does not describe a model this runtime can run:",
            *lines,
            "Correct these keys, or export the model again with this version.",
        ]
    )


def redescribe(folder: Path, key: str, described: Mapping[str, Any]) -> bytes:
    """The manifest of `folder` as a file's content, in which `key` (`variants`, `language_model`)
    says this; it stands after `model`."""
    content = yaml.safe_load((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    changed: dict[str, Any] = {}
    for name, value in content.items():
        if name != key:
            changed[name] = value
        if name == "model":
            changed[key] = described
    text = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True, width=100)
    return text.encode()


def read_graph(manifest: Manifest, precision: Precision = "fp32") -> bytes:
    """The file of `manifest.graph(precision)`.

    Raises ManifestError when it is missing, not the one that was described, or has weights in
    another file.
    """
    described = manifest.graph(precision)
    content = read_file(manifest.folder, described)
    if (problem := external_weights(content)) is not None:
        raise ManifestError(f"{manifest.folder / described.file}: {problem}.")
    return content


def read_file(folder: Path, described: DescribedFile) -> bytes:
    """Raises ManifestError when it is missing or not the one that was described."""
    path = folder / described.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"The model file {path} cannot be read: {error}. Copy the whole folder again."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != described.sha256:
        raise ManifestError(
            f"{path} is not the file its manifest describes: SHA-256 {found[:16]}..., expected "
            f"{described.sha256[:16]}... The file is damaged or was replaced; copy the whole "
            "folder again, or export the model anew so that manifest and graph belong together."
        )
    return content


Tensors = Mapping[str, tuple[str, tuple[Any, ...]]]
"""dtype and shape by name."""


def check_tensors(manifest: Manifest, what: str, inputs: Tensors, outputs: Tensors) -> None:
    """Raises ManifestError with every tensor of `what` that is not as the manifest says."""
    described_in: dict[str, tuple[str, tuple[Any, ...]]] = {
        t.name: (t.dtype, tuple(t.shape)) for t in manifest.inputs
    }
    described_in |= {s.input: (s.dtype, tuple(s.shape)) for s in manifest.states}
    described_out: dict[str, tuple[str, tuple[Any, ...]]] = {
        t.name: (t.dtype, tuple(t.shape)) for t in manifest.outputs
    }
    described_out |= {s.output: (s.dtype, tuple(s.shape)) for s in manifest.states}
    problems: list[str] = []
    sides = (("input", described_in, inputs), ("output", described_out, outputs))
    for side, described, found in sides:
        for name in sorted(described.keys() | found.keys()):
            want, have = described.get(name), found.get(name)
            if want != have:
                problems.append(f"  {side} {name}: manifest {_show(want)}, graph {_show(have)}")
    if problems:
        raise ManifestError(
            "\n".join(
                [
                    f"{what} and its manifest do not match:",
                    *problems,
                    "Export the model again so that both come from the same network.",
                ]
            )
        )


def _show(tensor: tuple[str, tuple[Any, ...]] | None) -> str:
    return "has none" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
