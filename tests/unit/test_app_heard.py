"""Sound is encoded beforehand exactly where it may be sent."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import pytest

from edge_runtime.app import _heard
from edge_runtime.config import Config
from edge_runtime.delegation.context import FORGET_TURNS, Heard
from edge_runtime.delegation.wire import pack_ogg, unpack_audio
from edge_runtime.inference.manifest import Manifest, load_manifest
from edge_runtime.micro_turn import TURN_SAMPLES, Decision, MicroTurn
from edge_runtime.pacing import MonotonicClock
from edge_runtime.reference_engine import reference_engine_folder
from edge_runtime.senses import Senses

TURN = MicroTurn(0, 0, np.full((2, TURN_SAMPLES), 0.1, np.float32))
SENSES = Senses(cast(Any, None), None, MonotonicClock(), realtime=True)
RECORDING = Senses(cast(Any, None), None, MonotonicClock(), realtime=False)
BROKER = Config(delegation=cast(Any, {"broker": "mqtt://127.0.0.1:9"}))


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(reference_engine_folder())


def hear(heard: Heard, symbols: str, turns: int = 1) -> None:
    for index in range(turns):
        heard.add(TURN, Decision(index, "listen", heard=symbols))


def test_with_a_broker_the_question_is_encoded_while_it_is_heard(manifest: Manifest) -> None:
    with ExitStack() as stack:
        heard = _heard(BROKER, SENSES, manifest, stack.enter_context)
        hear(heard, "what", turns=5)
        opus = heard.opus()
        assert opus is not None
        assert len(unpack_audio(pack_ogg(opus()))) == 5 * TURN_SAMPLES


@pytest.mark.parametrize(("config", "senses"), [(Config(), SENSES), (BROKER, RECORDING)])
def test_where_nothing_is_sent_nothing_is_encoded(
    manifest: Manifest, config: Config, senses: Senses
) -> None:
    with ExitStack() as stack:
        heard = _heard(config, senses, manifest, stack.enter_context)
        hear(heard, "what", turns=5)
        assert heard.opus() is None
        assert len(heard.audio()) == 5 * TURN_SAMPLES


def test_only_a_model_without_a_transcript_hears_the_person_all_the_time(
    manifest: Manifest,
) -> None:
    mute = manifest.model_copy(
        update={"outputs": [one for one in manifest.outputs if one.role != "transcript"]}
    )
    for model, turns in ((manifest, FORGET_TURNS), (mute, 2 * FORGET_TURNS)):
        heard = _heard(Config(), SENSES, model, ExitStack().enter_context)
        hear(heard, "", turns=2 * FORGET_TURNS)
        assert len(heard.audio()) == turns * TURN_SAMPLES
