"""The reference model, and other data, are found in a checkout and in an installed wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge_runtime import reference_engine
from edge_runtime.errors import ManifestError
from edge_runtime.reference_engine import reference_engine_folder

MODEL = {
    "manifest.yaml": "the manifest",
    "model.onnx": "the weights",
    "characters.npz": "the language",
    "CARD.md": "the card",
}


def build_wheel(project: Path, out: Path) -> Path:
    """Build with the backend that pyproject.toml names, without the network."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(out), str(project)),
        ],
        check=True,
        timeout=120,
    )
    (wheel,) = out.glob("edge_runtime-*.whl")
    return wheel


@pytest.fixture(scope="module")
def site_packages(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this package with a small stand-in for the model's weights, unpacked."""
    project = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, project)
    for package in ("edge_runtime", "engines", "ros2_ws"):
        shutil.copytree(
            repository / package,
            project / package,
            ignore=shutil.ignore_patterns("__pycache__", "*.onnx"),
        )
    for name, content in MODEL.items():
        (project / "engines" / "reference" / name).write_text(content)
    installed = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(build_wheel(project, tmp_path_factory.mktemp("dist"))) as wheel:
        wheel.extractall(installed)
    return installed


def test_the_checkout_has_the_model(repository: Path) -> None:
    folder = reference_engine_folder()
    assert folder == repository / "engines" / "reference"
    assert {path.name for path in folder.iterdir()} >= MODEL.keys()


def test_an_installed_wheel_has_the_model(site_packages: Path) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from edge_runtime.reference_engine import *; print(reference_engine_folder())",
        ],
        env={"PYTHONPATH": str(site_packages)},
        cwd=site_packages,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    folder = Path(run.stdout.strip())
    assert site_packages in folder.parents
    assert {path.name: path.read_text() for path in folder.iterdir()} == MODEL


def test_an_installed_wheel_has_the_message_files(site_packages: Path, repository: Path) -> None:
    sources = repository / "ros2_ws" / "src" / "edge_interaction_msgs" / "msg"
    installed = site_packages / "edge_runtime" / "message_files"
    assert {path.name: path.read_text() for path in installed.iterdir()} == {
        path.name: path.read_text() for path in sources.iterdir()
    }
    run = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from edge_runtime.sinks.message_types import *; print(message_folder())",
        ],
        env={"PYTHONPATH": str(site_packages)},
        cwd=site_packages,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(run.stdout.strip()) == installed


def test_a_wheel_carries_the_package_and_its_data_only(
    site_packages: Path, repository: Path
) -> None:
    assert not (site_packages / "engines").exists()
    assert not (site_packages / "tests").exists()
    data = [
        path.relative_to(repository)
        for path in (repository / "edge_runtime").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert [str(path) for path in data if not (site_packages / path).is_file()] == []


def test_without_a_model_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reference_engine, "_IN_CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(reference_engine, "_IN_PACKAGE", tmp_path / "package")
    with pytest.raises(ManifestError, match="make train"):
        reference_engine_folder()
