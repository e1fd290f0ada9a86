"""Importing the package needs no device library: vendors are imported late, where they are used."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_runtime

VENDORS = (
    "cv2",
    "cyclonedds",
    "faster_whisper",
    "matplotlib",
    "mcap",
    "num2words",
    "onnxruntime",
    "paho",
    "pipecat",
    "pocketsphinx",
    "prometheus_client",
    "pyaudio",
    "pycuda",
    "rclpy",
    "scipy",
    "soundfile",
    "soxr",
    "tensorrt",
    "text_to_num",
    "torch",
)

IMPORT_WITHOUT_VENDORS = """
import importlib, json, sys

vendors, modules = json.loads(sys.argv[1])

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in vendors:
            raise ImportError(f"{name} must not be imported while a module is")

sys.meta_path.insert(0, Refuse())
for module in modules:
    importlib.import_module(module)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} & set(vendors))))
"""


def module_names() -> list[str]:
    found = pkgutil.walk_packages(edge_runtime.__path__, prefix="edge_runtime.")
    return [module.name for module in found if not module.name.endswith(".__main__")]


def import_in_a_fresh_interpreter(
    modules: list[str], *extra_path: Path
) -> subprocess.CompletedProcess[str]:
    root = Path(edge_runtime.__file__).parent.parent
    path = ":".join(str(entry) for entry in (root, *extra_path))
    return subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_VENDORS, json.dumps([VENDORS, modules])],
        env={"PYTHONPATH": path, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_core_is_among_the_modules() -> None:
    core = {"app", "assemble", "decide", "loop", "micro_turn", "pacing", "interfaces", "config"}
    assert {f"edge_runtime.{name}" for name in core} <= set(module_names())


def test_every_module_imports_without_a_vendor() -> None:
    run = import_in_a_fresh_interpreter(module_names())
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == []


@pytest.mark.parametrize("vendor", ["cv2", "pyaudio"])
def test_an_early_vendor_would_be_noticed(vendor: str, tmp_path: Path) -> None:
    (tmp_path / "too_early.py").write_text(f"import {vendor}\n")
    run = import_in_a_fresh_interpreter(["too_early"], tmp_path)
    assert run.returncode != 0
    assert f"{vendor} must not be imported" in run.stderr


SENSES = """
import sys
from edge_runtime.config import Config, Video
from edge_runtime.senses import senses_for, topic_senses_for
from edge_runtime.sources.ros_topics import StampClock

senses_for(Config(), realtime=True)
assert "cv2" not in sys.modules
if sys.argv[1] == "ros":
    topic_senses_for(Config(video=Video(source="ros")), StampClock(), str)
else:
    senses_for(Config(video=Video(source=sys.argv[1])), realtime=True)
assert "cv2" in sys.modules
"""


@pytest.mark.parametrize("source", ["0", "ros"])
def test_opencv_is_there_before_a_process_can_be_spawned_and_only_for_who_sees(source: str) -> None:
    """A recogniser spawned while a camera's thread imports it inherits its half-made sys.path."""
    root = str(Path(edge_runtime.__file__).parent.parent)
    command = [sys.executable, "-c", SENSES, source]
    subprocess.run(command, env={"PYTHONPATH": root}, check=True, timeout=60)
