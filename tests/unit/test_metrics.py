"""What Prometheus reads: names and units by its conventions, and figures that are right."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heard_letters import heard_as

from edge_runtime.errors import ConfigError
from edge_runtime.health import CAMERA, CameraState, HealthMonitor, State
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    BackgroundState,
    Decision,
    Delegation,
    EngineOutput,
    Event,
    EventKind,
    MicroTurn,
    Request,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.remote_control import RemoteControl
from edge_runtime.sinks.metrics import TALLIES, Metrics
from edge_runtime.sinks.queue import QueueSink
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sinks.rotation import Limits, Rotation
from edge_runtime.sinks.statistics import Statistics
from edge_runtime.sound_status import DeviceState, End, SoundStatus

parser = pytest.importorskip("prometheus_client.parser")
SPEAKING = VoiceState("utterance-1", 2.0)


class Run:
    def __init__(self, sink: Metrics) -> None:
        self.sink, self.index = sink, 0

    def turn(
        self,
        timings: Timings | None = None,
        said: bool = False,
        act: str = "greet",
        events: tuple[Event, ...] = (),
        voice: VoiceState = VoiceState(),  # noqa: B008 (frozen)
        pending: bool = False,
        asks: str | None = None,
        frame_age_ms: float | None = None,
        lost: int = 0,
        **decision: Any,
    ) -> None:
        turn = MicroTurn(
            self.index,
            0,
            np.zeros((2, TURN_SAMPLES), np.float32),
            lost_samples=lost,
            frame_age_ms=frame_age_ms,
            events=events,
            voice=voice,
            background=BackgroundState(pending=pending),
        )
        self.sink.publish(
            TurnRecord(
                turn,
                EngineOutput(self.index, {"floor": np.zeros(5, np.float32)}),
                Decision(self.index, decision.pop("floor", "listen"), **decision),
                timings or Timings(),
                Utterance("utterance-1", "hello", act) if said else None,
                request=None if asks is None else Request(asks, np.zeros(0, np.float32), "", "en"),
            )
        )
        self.index += 1

    def figures(self) -> dict[str, float]:
        """As Prometheus' own parser reads them; labels as in `name{label=value}`."""
        found = {}
        for family in parser.text_string_to_metric_families(self.sink.text().decode()):
            for sample in family.samples:
                labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
                found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return found


def sound() -> SoundStatus:
    return SoundStatus(
        End(DeviceState.SILENT, "ReSpeaker", "it gives nothing but zeros", xruns=2),
        End(DeviceState.PRESENT, "Speaker", xruns=5, reopened=1),
        buffer_ms=10.0,
        block_ms=5.0,
        drift_ppm=-40.0,
        delay_ms=35.0,
        underrun_samples=320,
    )


@pytest.fixture
def health() -> HealthMonitor:
    return HealthMonitor()


@pytest.fixture
def run(health: HealthMonitor, tmp_path: Path) -> Iterator[Run]:
    control = RemoteControl()
    control.connect(microphone=lambda on: None, camera=lambda on: None)
    control.switch_camera(False)
    queues = [QueueSink(Statistics(), "recording")]
    camera = {"camera_state": lambda: CameraState.FROZEN, "camera_reopened": lambda: 3}
    limits = Limits(max_bytes=1e9, max_s=1e9, keep_bytes=1e9, keep_s=1e9)
    recording = Rotation(lambda path: Recorder(path, {}), tmp_path / "last.mcap", limits)
    metrics = Metrics(health, control, queues, sound, **camera, recording=recording)
    with recording, metrics as sink:
        yield Run(sink)


def test_turns_and_what_they_cost(run: Run) -> None:
    run.turn(Timings(compute_ms=4, late_ms=30), frame_age_ms=80, lost=100)
    run.turn(Timings(compute_ms=140, skipped=2), floor="speak")
    found = run.figures()
    assert found["edge_micro_turns_total"] == 2
    assert found["edge_micro_turns_missed_total"] == 2
    assert found["edge_compute_seconds_count"] == 2
    assert found["edge_compute_seconds_sum"] == pytest.approx(0.144)
    assert found["edge_compute_seconds_bucket{le=0.005}"] == 1
    assert found["edge_late_seconds_sum"] == pytest.approx(0.03)
    assert found["edge_frame_age_seconds_count"] == 1
    assert found["edge_audio_lost_samples_total"] == 100
    assert found["edge_floor_seconds_total{floor=listen}"] == pytest.approx(0.2)
    assert found["edge_floor_seconds_total{floor=speak}"] == pytest.approx(0.2)


def test_what_is_asked_for_at_the_moment_of_reading(run: Run, health: HealthMonitor) -> None:
    health.report(CAMERA, State.DEGRADED, "no picture")
    found = run.figures()
    assert found["edge_health_state{part=camera}"] == 1
    assert found["edge_health_state{part=device}"] == 1
    assert found["edge_capture_on{what=camera}"] == 0
    assert found["edge_capture_on{what=microphone}"] == 1
    assert found["edge_recording_on"] == 1
    assert found["edge_recording_bytes_total"] > 0
    for state in CameraState:
        is_it = state is CameraState.FROZEN
        assert found[f"edge_camera_state{{state={state.value}}}"] == is_it
    assert found["edge_camera_reopened_total"] == 3
    assert found["edge_queue_depth{queue=recording}"] == 0
    assert found["edge_queue_dropped_total{queue=recording}"] == 0
    assert found["edge_audio_underrun_samples_total"] == 320
    assert found["edge_audio_device{device=microphone,state=silent}"] == 1
    assert found["edge_audio_device{device=microphone,state=present}"] == 0
    assert found["edge_audio_device{device=loudspeaker,state=present}"] == 1
    assert found["edge_audio_xruns_total{device=loudspeaker}"] == 5
    assert found["edge_audio_reopened_total{device=loudspeaker}"] == 1
    assert found["edge_audio_buffer_seconds"] == pytest.approx(0.01)
    assert found["edge_audio_reference_delay_seconds"] == pytest.approx(0.035)
    assert found["edge_audio_clock_drift_ratio"] == pytest.approx(-40e-6)
    assert found["process_resident_memory_bytes"] > 10_000_000


def test_delegations_by_their_end(run: Run) -> None:
    run.turn(asks="request-1")
    run.turn(events=(Event(EventKind.PROGRESS, "request-1"),), pending=True)
    run.turn(events=(Event(EventKind.RESULT, "request-1"), Event(EventKind.RESULT, "timer-1")))
    run.turn(asks="request-2")
    run.turn(events=(Event(EventKind.FAILED, "request-2"),))
    run.turn(asks="request-3")
    run.turn(delegation=Delegation.CANCEL, pending=True)
    run.turn(delegation=Delegation.CANCEL)
    run.turn(asks="kept-4")
    run.turn(events=(Event(EventKind.RESULT, "kept-4-notice"),))
    run.turn(delegation=Delegation.DELEGATE)  # in standby: nothing is asked
    found = run.figures()
    assert found["edge_delegations_asked_total"] == 4
    for outcome in ("answered", "kept", "failed", "cancelled"):
        assert found[f"edge_delegations_total{{outcome={outcome}}}"] == 1
    run.turn(events=(Event(EventKind.RESULT, "kept-4"),))
    assert run.figures()["edge_delegations_total{outcome=answered}"] == 2


def outcomes(run: Run) -> dict[str, float]:
    found = run.figures()
    names = ("answered", "kept", "failed", "cancelled")
    counts = {name: found[f"edge_delegations_total{{outcome={name}}}"] for name in names}
    return {name: count for name, count in counts.items() if count}


def test_a_question_that_somebody_outside_takes_back_is_cancelled(run: Run) -> None:
    run.turn(asks="request-1")
    run.turn(pending=True)
    assert outcomes(run) == {}
    run.turn()
    run.turn()
    assert outcomes(run) == {"cancelled": 1}


def test_a_question_whose_place_another_one_takes_is_cancelled(run: Run) -> None:
    run.turn(asks="request-1")
    run.turn(asks="request-2", pending=True)
    run.turn(pending=True)
    assert outcomes(run) == {"cancelled": 1}
    run.turn(events=(Event(EventKind.RESULT, "request-2"),))
    assert outcomes(run) == {"cancelled": 1, "answered": 1}


def test_a_question_that_is_kept_outlives_the_next_one(run: Run) -> None:
    run.turn(asks="kept-1")
    run.turn(asks="request-2", pending=True)
    run.turn(events=(Event(EventKind.RESULT, "kept-1"),), pending=True)
    run.turn(events=(Event(EventKind.RESULT, "request-2"),))
    assert outcomes(run) == {"answered": 2}


def test_a_device_in_standby_takes_nothing_back(run: Run) -> None:
    run.turn(asks="request-1")
    run.turn(pending=True, delegation=Delegation.CANCEL)
    run.turn(events=(Event(EventKind.RESULT, "request-1"),))
    assert outcomes(run) == {"answered": 1}


def test_what_others_count_is_read_when_it_is_asked_for(health: HealthMonitor) -> None:
    count = 2
    tallies = {name: lambda: count for name in TALLIES}
    with Metrics(health, RemoteControl(), tallies=tallies) as sink:
        run = Run(sink)
        count = 3
        found = run.figures()
    for name in ("edge_actions_lost", "edge_commands_refused", "edge_payloads_ignored"):
        assert found[f"{name}_total"] == 3


def test_a_question_whose_action_was_not_done_has_failed_though_that_is_told(run: Run) -> None:
    run.turn(asks="request-1")
    undone = Event(EventKind.UNDONE, "request-1", "no connection")
    run.turn(events=(undone, Event(EventKind.RESULT, "request-1", "I cannot reach that.")))
    found = run.figures()
    assert found["edge_delegations_total{outcome=failed}"] == 1
    assert found["edge_delegations_total{outcome=answered}"] == 0


def test_a_response_is_timed_from_the_last_word(run: Run) -> None:
    run.turn(heard="what time")
    run.turn()
    run.turn()
    run.turn(Timings(total_ms=50), said=True)
    found = run.figures()
    assert found["edge_response_seconds_count"] == 1
    assert found["edge_response_seconds_sum"] == pytest.approx(0.65)


@pytest.mark.parametrize("aside", ["backchannel", "announce"])
def test_what_is_said_beside_the_conversation_is_no_response(run: Run, aside: str) -> None:
    run.turn(heard="what time")
    run.turn(said=True, act=aside)
    run.turn()
    run.turn(Timings(total_ms=50), said=True)
    found = run.figures()
    assert found["edge_response_seconds_count"] == 1
    assert found["edge_response_seconds_sum"] == pytest.approx(0.65)


def test_what_is_read_later_was_heard_when_it_sounded(run: Run) -> None:
    """The reading waits for more, and ends with the answer."""
    run.turn(letters=heard_as("wh"))
    run.turn(letters=heard_as("at "))
    run.turn(letters=heard_as("  "), heard="what")
    run.turn(letters=heard_as(" "), heard=" ", said=True)
    assert run.figures()["edge_response_seconds_sum"] == pytest.approx(0.4)


def test_what_nobody_asked_for_is_no_response(run: Run) -> None:
    run.turn(said=True)
    run.turn(heard="hm")
    for _ in range(60):
        run.turn()
    run.turn(said=True)
    assert run.figures()["edge_response_seconds_count"] == 0


def test_a_stop_is_timed_from_the_first_word_over_our_speech_to_the_end_of_the_fade(
    run: Run,
) -> None:
    run.turn(voice=SPEAKING)
    run.turn(voice=SPEAKING, heard="sto")
    run.turn(Timings(total_ms=30), voice=SPEAKING, heard="p", stop=True)
    run.turn()
    found = run.figures()
    assert found["edge_stop_seconds_count"] == 1
    assert found["edge_stop_seconds_sum"] == pytest.approx(0.4 + 0.03 + 0.02)


def test_a_stop_that_began_as_a_hesitation_is_timed_to_when_it_fell_silent(run: Run) -> None:
    run.turn(voice=SPEAKING, heard="mhm", hesitate=True)
    run.turn(voice=SPEAKING)
    run.turn(voice=SPEAKING, heard="sto", hesitate=True)
    run.turn(voice=SPEAKING, heard="p", stop=True)
    found = run.figures()
    assert found["edge_stop_seconds_count"] == 1
    assert found["edge_stop_seconds_sum"] == pytest.approx(0.6 + 0.02)


def test_names_and_units_follow_the_conventions(run: Run) -> None:
    run.turn(frame_age_ms=1)
    families = list(parser.text_string_to_metric_families(run.sink.text().decode()))
    ours = [family for family in families if family.name.startswith("edge_")]
    assert len(ours) >= 14
    for family in ours:
        assert family.documentation
        for unit in ("_ms", "_millis", "_mb", "_percent"):
            assert unit not in family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if family.type == "counter":
            assert {one.name for one in family.samples} <= {
                *(f"{family.name}_total", f"{family.name}_created")
            }


def test_without_the_package_the_remedy_is_to_install_it(
    health: HealthMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'edge-runtime\[metrics\]'"):
        Metrics(health, RemoteControl()).__enter__()


def test_the_dashboard_asks_only_for_what_there_is(run: Run, repository: Path) -> None:
    run.turn(Timings(), frame_age_ms=1, said=True)
    known = {name.partition("{")[0] for name in run.figures()}
    dashboard = json.loads((repository / "systemd/grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(asked) >= 10
    import re

    for expression in asked:
        names = re.findall(r"\b(?:edge|process)_[a-z_]+", expression)
        assert names, expression
        assert set(names) <= known, expression
