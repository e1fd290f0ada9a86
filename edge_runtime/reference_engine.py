"""Where the reference model lies, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.errors import ManifestError

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = _PACKAGE.parent / "engines" / "reference"
_IN_PACKAGE = _PACKAGE / "engines_data" / "reference"


def reference_engine_folder() -> Path:
    """The folder that holds the reference model's `manifest.yaml` and ONNX file.

    Raises ManifestError when this installation has none.
    """
    for folder in (_IN_CHECKOUT, _IN_PACKAGE):
        if (folder / "manifest.yaml").is_file():
            return folder
    raise ManifestError(
        f"no reference model in {_IN_CHECKOUT} or {_IN_PACKAGE}; install edge-runtime again, "
        "run `make train`, or name another model's folder in the configuration"
    )
