"""Where the microphones of an array are: a YAML file of `calibration/sensors`, or a user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.config import load
from edge_runtime.errors import ConfigError

SAME_LINE_M = 1e-3
"""Microphones so near to one line cannot tell its sides apart."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Microphone(_Closed):
    """Position in metres, REP-103: x ahead, y left, z up."""

    channel: int = Field(ge=0, le=15)
    x_m: float = Field(ge=-2, le=2)
    y_m: float = Field(ge=-2, le=2)
    z_m: float = Field(0.0, ge=-2, le=2)


class Geometry(_Closed):
    """An array of microphones."""

    name: str = ""
    capture_channels: int = Field(1, ge=1, le=16)
    """That the device must be opened with."""
    processed_channel: int | None = Field(None, ge=0, le=15)
    """Where the device gives what it has cancelled echoes from itself."""
    microphones: tuple[Microphone, ...] = ()

    @property
    def channels(self) -> list[int]:
        return [microphone.channel for microphone in self.microphones]

    def positions_m(self, turned_rad: float = 0.0) -> NDArray[np.float64]:
        """(microphones, 3) about their centre, the array turned to the left by `turned_rad`."""
        where = np.array([(m.x_m, m.y_m, m.z_m) for m in self.microphones])
        cos, sin = np.cos(turned_rad), np.sin(turned_rad)
        turned = where @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        centred: NDArray[np.float64] = turned - turned.mean(axis=0)
        return centred


def sensors_folder() -> Path:
    """In a checkout beside the package, in a wheel inside it."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "calibration" / "sensors"
    return checkout if checkout.is_dir() else package / "sensors_data"


def load_geometry(name: str, channels: int) -> Geometry:
    """One of ours by its name, or a file. Raises ConfigError, also where `channels`, which the
    microphone is opened with, are not those of the geometry."""
    ours = sensors_folder() / f"{name}.yaml"
    path = ours if ours.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in sensors_folder().glob("*.yaml")))
        raise ConfigError(f"audio.array: {name!r} is no file, and none of: {known}.")
    geometry = load(path, Geometry)
    _check(geometry, path)
    if geometry.capture_channels != channels:
        raise ConfigError(
            f"The array {geometry.name or name!r} gives {geometry.capture_channels} channels, and "
            f"audio.channels is {channels}. Set audio.channels: {geometry.capture_channels}, or "
            f"choose another audio.array."
        )
    return geometry


def _check(geometry: Geometry, path: Path) -> None:
    used = geometry.channels
    if not used:
        raise ConfigError(f"{path}: `microphones` has none; give channel, x_m and y_m of each.")
    if len(set(used)) < len(used):
        raise ConfigError(f"{path}: two microphones have the same channel.")
    last = max([*used, geometry.processed_channel or 0])
    if last >= geometry.capture_channels:
        raise ConfigError(
            f"{path}: channel {last} is beyond the last of capture_channels, "
            f"{geometry.capture_channels}; they are counted from 0."
        )
    if geometry.processed_channel in used:
        raise ConfigError(
            f"{path}: processed_channel {geometry.processed_channel} is a microphone of the array "
            "too. It is where the device gives its own result without echoes; leave it out where "
            "there is none."
        )
    where = geometry.positions_m()
    apart = np.linalg.norm(where[:, None] - where[None], axis=-1) + np.eye(len(where))
    if apart.min() < SAME_LINE_M:
        raise ConfigError(f"{path}: two microphones are at the same place; positions are metres.")
