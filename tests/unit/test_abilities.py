"""What a background model is told that the device can do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_runtime.app import abilities_of
from edge_runtime.config import Config
from edge_runtime.delegation import wire
from edge_runtime.delegation.packing import Abilities, pack
from edge_runtime.errors import ConfigError
from edge_runtime.inference.manifest import Manifest, load_manifest
from edge_runtime.micro_turn import TURN_SAMPLES, Request
from edge_runtime.reference_engine import reference_engine_folder


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(reference_engine_folder())


def with_actions(**actions: Any) -> Config:
    return Config.model_validate({"delegation": {"broker": "mqtt://lan"}, "actions": actions})


def test_the_actions_of_the_model_and_of_the_configuration(manifest: Manifest) -> None:
    described = {"description": "switch on the kitchen lamp", "mqtt_topic": "lamp/set"}
    known = abilities_of(with_actions(lamp_on=described, come={"valid_ms": 500}), manifest)
    model = [name for name in manifest.vocabularies.action if name != "none"]
    assert [one.name for one in known] == [*model, "lamp_on"]
    described = {one.name: one.description for one in known if one.description}
    assert described == {"lamp_on": "switch on the kitchen lamp"}


def test_a_worker_reads_them(manifest: Manifest) -> None:
    dock = {"description": "drive to the charger", "phrases": ["[please] go and charge"]}
    known = abilities_of(with_actions(dock=dock), manifest)
    assert known[-1].phrases == ("[please] go and charge",)
    asked = Request("request-1", np.zeros(TURN_SAMPLES, np.float32))
    payload = pack("a-1", asked, Abilities("kiosk", known), "2026-11-28T07:00:00+00:00")
    read = wire.decode(wire.RequestMessage, payload, wire.MAX_REQUEST_BYTES)
    assert read.actions == known


def test_as_many_as_a_worker_takes(manifest: Manifest) -> None:
    free = wire.MAX_ACTIONS - len(abilities_of(Config(), manifest))
    most: dict[str, Any] = {f"act_{number}": {} for number in range(free)}
    assert len(abilities_of(with_actions(**most), manifest)) == wire.MAX_ACTIONS
    with pytest.raises(ConfigError, match="a worker takes at most 64"):
        abilities_of(with_actions(**most, one_more={}), manifest)
