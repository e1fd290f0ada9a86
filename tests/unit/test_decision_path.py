"""The model alone decides who has the floor.

No voice-activity detector, energy threshold or end-of-turn timer may stand between the engine and
a decision. Checked here: what the project depends on, what the code between a reading and a
decision says, and what the configuration accepts; every check of the code is also tried on code
that breaks the rule. What the code does is checked in `test_decision_behaviour.py`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from edge_runtime.config import load_config
from edge_runtime.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PATH_FILES = (
    *("app.py", "loop.py", "assemble.py", "inference/encode.py", "decide.py"),
    *("dialogue.py", "delegation/context.py"),
)
"""From a reading to what is said, in edge_runtime/."""

TIMELESS_FILES = tuple(name for name in PATH_FILES if name not in ("app.py", "loop.py"))
"""Of these, the ones that must not read a clock: what they need of time is in the micro-turn."""

DETECTOR_PACKAGES = re.compile(
    r"webrtc-?vad|silero|pyannote|ten-?vad|cobra|pvcobra|speechbrain|auditok|inaspeechsegmenter"
    r"|livekit-plugins-turn-detector|smart-?turn|(^|-)vad(-|$)"
)

DETECTOR_WORDS = {
    *("vad", "webrtcvad", "silero", "energy", "rms", "dbfs", "loudness"),
    *("endpointing", "endpointer", "endpointed"),
}
"""No identifier of the decision path has one of these as a word."""

DETECTOR_PHRASES = (
    *("voice_activity", "end_of_turn", "end_of_speech", "is_speech", "speech_detected"),
    *("silence_timer", "silence_timeout", "silence_duration", "silence_ms", "silence_s"),
    *("silent_ms", "silent_turns", "turns_of_silence", "audio_threshold", "level_threshold"),
)

SAMPLE_NAMES = {"audio", "pcm", "samples"}
"""Attributes and variables that hold sound."""

SHAPE_ONLY = {"shape", "size", "ndim", "dtype"}
"""What may be asked of sound without hearing it."""


def words(identifier: str) -> str:
    """snake_case of an identifier in any style: `EndOfTurnTimer` is `end_of_turn_timer`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower()


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that the code defines, uses, imports or passes; not its prose."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield line, node.name
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield line, node.arg
        elif isinstance(node, ast.alias):
            yield line, node.name.replace(".", "_")
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield line, node.module.replace(".", "_")


def detector_names(tree: ast.AST) -> list[str]:
    """Identifiers that speak of detecting speech or timing silence."""
    found = []
    for line, identifier in identifiers(tree):
        name = f"_{words(identifier)}_"
        if DETECTOR_WORDS & set(name.split("_")) or any(f"_{p}_" in name for p in DETECTOR_PHRASES):
            found.append(f"line {line}: {identifier}")
    return found


def hears(expression: ast.AST | None, tainted: set[str]) -> bool:
    """Whether the value of an expression depends on sound, as far as this file can tell.

    A call of one of our own functions is not followed: those of the decision path are checked where
    they are written.
    """
    if expression is None:
        return False
    if isinstance(expression, ast.Attribute):
        if expression.attr in SHAPE_ONLY:
            return False
        return expression.attr in SAMPLE_NAMES or hears(expression.value, tainted)
    if isinstance(expression, ast.Name):
        return expression.id in tainted
    if isinstance(expression, ast.Compare) and all(
        isinstance(operator, ast.Is | ast.IsNot) for operator in expression.ops
    ):
        return False
    if isinstance(expression, ast.Call):
        return call_hears(expression, tainted)
    return any(hears(child, tainted) for child in ast.iter_child_nodes(expression))


def call_hears(call: ast.Call, tainted: set[str]) -> bool:
    arithmetic = {"abs", "all", "any", "bool", "float", "int", "max", "min", "sorted", "sum"}
    root: ast.expr = call.func
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name) or root.id in arithmetic | {"np", "numpy", "math"}:
        return any(hears(child, tainted) for child in ast.iter_child_nodes(call))
    return isinstance(call.func, ast.Attribute) and hears(call.func.value, tainted)


def names_that_hold_sound(tree: ast.AST) -> set[str]:
    """Variables assigned from sound, or from other such variables."""
    tainted = set(SAMPLE_NAMES)
    while True:
        more = set(tainted)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value:
                targets, value = [node.target], node.value
            else:
                continue
            if hears(value, tainted):
                leaves = (leaf for target in targets for leaf in ast.walk(target))
                more |= {leaf.id for leaf in leaves if isinstance(leaf, ast.Name)}
        if more == tainted:
            return tainted
        tainted = more


def branches_on_sound(tree: ast.AST) -> list[str]:
    """Places where what is done next depends on the value of samples."""
    tainted = names_that_hold_sound(tree)
    conditions: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            conditions.append(node.test)
        elif isinstance(node, ast.comprehension):
            conditions.extend(node.ifs)
        elif isinstance(node, ast.Compare | ast.BoolOp):
            conditions.append(node)
        elif isinstance(node, ast.Match):
            conditions.append(node.subject)
    return [f"line {c.lineno}: {ast.unparse(c)}" for c in conditions if hears(c, tainted)]


def clock_readings(tree: ast.AST) -> list[str]:
    """Imports of the time modules and readings of a clock."""
    clocks = {"now_ns", "sleep_until", "monotonic", "monotonic_ns", "perf_counter", "time_ns"}
    modules = {"time", "datetime", "sched"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            if imported & modules:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Attribute) and node.attr in clocks:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def parse(repository: Path, name: str) -> ast.Module:
    return ast.parse((repository / "edge_runtime" / name).read_text(encoding="utf-8"))


class TestDependencies:
    def test_no_detector_is_installed(self, repository: Path) -> None:
        project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
        required = list(project["dependencies"])
        for extra, packages in project["optional-dependencies"].items():
            if extra != "evaluate":  # the baselines that we compare with may use one
                required += packages
        assert len(required) > 10
        assert [package for package in required if DETECTOR_PACKAGES.search(package)] == []

    @pytest.mark.parametrize("package", ["webrtcvad>=2", "silero-vad", "pyannote.audio", "my-vad"])
    def test_a_detector_would_be_noticed(self, package: str) -> None:
        assert DETECTOR_PACKAGES.search(package)


class TestCode:
    @pytest.mark.parametrize("name", PATH_FILES)
    def test_names_no_detector(self, repository: Path, name: str) -> None:
        assert detector_names(parse(repository, name)) == []

    # app.py chooses sources by the configuration's `audio` section, not by sound.
    @pytest.mark.parametrize("name", [name for name in PATH_FILES if name != "app.py"])
    def test_does_not_branch_on_sound(self, repository: Path, name: str) -> None:
        assert branches_on_sound(parse(repository, name)) == []

    @pytest.mark.parametrize("name", TIMELESS_FILES)
    def test_reads_no_clock(self, repository: Path, name: str) -> None:
        assert clock_readings(parse(repository, name)) == []

    def test_decide_never_touches_the_sound(self, repository: Path) -> None:
        touched = [name for _, name in identifiers(parse(repository, "decide.py"))]
        assert "decide" in touched
        assert set(touched) & (SAMPLE_NAMES | {"AudioReading", "Pcm", "StereoPcm"}) == set()

    def test_decide_takes_the_mouth_from_the_turn_and_nothing_else(self, repository: Path) -> None:
        taken = {
            node.attr
            for node in ast.walk(parse(repository, "decide.py"))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "turn"
        }
        assert taken == {"index", "voice"}


class TestCodeChecksCanFail:
    @pytest.mark.parametrize(
        "code",
        [
            "import webrtcvad",
            "from silero.model import load",
            "class EndOfTurnTimer: ...",
            "def f(vad_probability): ...",
            "if self.silence_ms > 700: stop()",
            "frame_energy = 1.0",
            "configure(silence_timeout=0.5)",
        ],
    )
    def test_a_detector_by_name(self, code: str) -> None:
        assert detector_names(ast.parse(code))

    @pytest.mark.parametrize(
        "code",
        [
            "if np.abs(turn.audio).max() > 0.01: speak()",
            "loud = float(np.sqrt((reading.pcm ** 2).mean()))\nquiet = loud < 0.1",
            "level = turn.audio[0].max()\nn = n + 1 if level else 0",
            "x = reading.pcm\ny = x * x\nwhile y.sum() > 3: wait()",
            "chosen = [t for t in turns if t.audio.any()]",
            "match max(pcm):\n    case 0.0: stop()",
        ],
    )
    def test_a_branch_on_sound(self, code: str) -> None:
        assert branches_on_sound(ast.parse(code))

    @pytest.mark.parametrize(
        "code",
        [
            "if reading.pcm.shape != (2, 3200): raise ValueError",
            "if record.audio is None: return",
            "reading = source.read_turn()\nif reading is None: stop()",
            "output = engine.step(encode(turn.audio))\nif output.stop: flush()",
        ],
    )
    def test_handing_sound_on_is_no_branch(self, code: str) -> None:
        assert branches_on_sound(ast.parse(code)) == []

    @pytest.mark.parametrize(
        "code", ["import time", "from time import monotonic", "if clock.now_ns() > t: stop()"]
    )
    def test_a_clock(self, code: str) -> None:
        assert clock_readings(ast.parse(code))


def write_config(folder: Path, content: dict[str, object]) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class TestConfig:
    """No key switches a detector on, at the top or in any section."""

    KEYS = ("vad", "endpointing", "silence_timeout", "silence_timeout_ms", "energy_threshold")

    @pytest.mark.parametrize("key", KEYS)
    def test_refuses_a_detector(self, tmp_path: Path, key: str) -> None:
        with pytest.raises(ConfigError, match=key):
            load_config(write_config(tmp_path, {key: 1}))

    @pytest.mark.parametrize("key", KEYS)
    def test_refuses_a_detector_in_every_section(self, tmp_path: Path, key: str) -> None:
        everything = load_config(write_config(tmp_path, {})).model_dump()
        sections = [name for name, value in everything.items() if isinstance(value, dict)]
        assert sections
        for section in sections:
            with pytest.raises(ConfigError, match=key):
                load_config(write_config(tmp_path, {section: {key: 1}}))
