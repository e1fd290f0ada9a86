"""Figures of the run for Prometheus. The only file with prometheus_client.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from edge_runtime import __version__
from edge_runtime.dialogue import KEPT, NOTICE, answers, outcomes
from edge_runtime.errors import ConfigError
from edge_runtime.health import LOUDSPEAKER, MICROPHONE, CameraState, HealthMonitor
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TURN_MS, EventKind, TurnRecord
from edge_runtime.remote_control import RemoteControl
from edge_runtime.sinks.queue import QueueSink
from edge_runtime.sinks.rotation import Rotation
from edge_runtime.sound_status import DeviceState, SoundStatus

if TYPE_CHECKING:
    from prometheus_client.core import Metric

TURN_S = TURN_MS / 1000
COMPUTE_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5)
AGE_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0)
RESPONSE_S = (0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0)
STOP_S = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0)
FORGET_S = 10.0
"""What was heard longer ago is not what is answered now."""
_ENDS = (EventKind.RESULT, EventKind.FAILED, EventKind.UNDONE)
"""Of a question."""
ACTIONS_LOST, COMMANDS_REFUSED = "edge_actions_lost", "edge_commands_refused"
PAYLOADS_IGNORED = "edge_payloads_ignored"
TALLIES = {
    ACTIONS_LOST: "Actions that reached nobody over MQTT.",
    COMMANDS_REFUSED: "Commands over MQTT that were not obeyed.",
    PAYLOADS_IGNORED: "Messages of workers that were none.",
}
"""What others count."""


class Metrics(NothingHeld):
    """A Sink that counts, and `text()` for whoever asks.

    `queues` are those whose depth shall be known; `sound` tells how microphone and loudspeaker are,
    where these are devices of this machine; `camera_state` tells what a camera is worth, and
    `camera_reopened` how often it was opened again; `recording` is the configured one; `tallies`
    are those of TALLIES that are counted here. Entering raises ConfigError without
    prometheus_client.
    """

    def __init__(
        self,
        health: HealthMonitor,
        control: RemoteControl,
        queues: Sequence[QueueSink] = (),
        sound: Callable[[], SoundStatus] | None = None,
        fade_ms: float = 20.0,
        camera_state: Callable[[], CameraState] | None = None,
        camera_reopened: Callable[[], int] | None = None,
        recording: Rotation | None = None,
        tallies: Mapping[str, Callable[[], int]] = MappingProxyType({}),
    ) -> None:
        self._health, self._control = health, control
        self._queues, self._sound, self._fade_s = queues, sound, fade_ms / 1000
        self._camera_state, self._camera_reopened = camera_state, camera_reopened
        self._recording = recording
        self._tallies = tallies
        self._registry: Any = None
        self._pending: str | None = None
        """The question that is out and has no end yet."""
        self._heard_s: float | None = None
        """How long ago the person was last heard (in the model's own transcript)."""
        self._barged_s: float | None = None
        """Since the start of the micro-turn in which the person was first heard over our speech."""
        self._silent_s: float | None = None
        """As long after that it fell silent and has not gone on."""

    def __enter__(self) -> Self:
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector
        except ImportError as error:
            raise ConfigError(
                f"Metrics need prometheus_client ({error}). Install it: pip install "
                "'edge-runtime[metrics]', or set http.metrics to false."
            ) from error
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        self._make()
        return self

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self._registry))

    def publish(self, record: TurnRecord) -> None:
        turn, decision, timings = record.turn, record.decision, record.timings
        self._turns.inc()
        self._missed.inc(timings.skipped)
        self._compute.observe(timings.compute_ms / 1000)
        self._late.observe(timings.late_ms / 1000)
        if turn.frame_age_ms is not None:
            self._frame_age.observe(turn.frame_age_ms / 1000)
        self._lost.inc(turn.lost_samples)
        self._floor.labels(decision.floor).inc(TURN_S)
        self._count_delegations(record)
        self._observe_latencies(record)

    def collect(self) -> Iterable[Metric]:
        """What is read at the moment of asking. Called by the registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        state = GaugeMetricFamily(
            "edge_health_state", "Of a part: 0 ok, 1 degraded, 2 failed.", labels=["part"]
        )
        health = self._health.snapshot()
        state.add_metric(["device"], health.state.severity)
        for part in health.parts:
            state.add_metric([part.name], part.state.severity)
        yield state
        on = GaugeMetricFamily("edge_capture_on", "1: captures; 0: switched off.", labels=["what"])
        for name, is_on in self._control.capture.items():
            on.add_metric([name], is_on)
        yield on
        if self._camera_state is not None:
            now = self._camera_state()
            camera = GaugeMetricFamily("edge_camera_state", "1: this one.", labels=["state"])
            for one in CameraState:
                camera.add_metric([one.value], one is now)
            yield camera
        if self._camera_reopened is not None:
            yield CounterMetricFamily(
                "edge_camera_reopened",
                "Attempts to open it again.",
                self._camera_reopened(),
            )
        if self._recording is not None:
            text = "1: records; 0: nothing can be written."
            yield GaugeMetricFamily("edge_recording_on", text, self._recording.on)
            written = self._recording.written_bytes
            yield CounterMetricFamily("edge_recording_bytes", "Written to the disk.", written)
        depth = GaugeMetricFamily("edge_queue_depth", "Micro-turns that wait.", labels=["queue"])
        lost = CounterMetricFamily("edge_queue_dropped", "Micro-turns dropped.", labels=["queue"])
        for queue in self._queues:
            depth.add_metric([queue.name], queue.depth)
            lost.add_metric([queue.name], queue.dropped)
        yield depth
        yield lost
        for name, count in self._tallies.items():
            yield CounterMetricFamily(name, TALLIES[name], count())
        if self._sound is not None:
            yield from _sound_figures(self._sound())

    def _make(self) -> None:
        from prometheus_client import Counter, Histogram, Info

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self._registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, buckets=buckets, registry=self._registry)

        Info("edge_build", "The program.", registry=self._registry).info({"version": __version__})
        self._turns = counter("edge_micro_turns", "Micro-turns completed.")
        self._missed = counter("edge_micro_turns_missed", "Deadlines that went by unserved.")
        self._compute = histogram("edge_compute_seconds", "The engine's step.", COMPUTE_S)
        self._late = histogram("edge_late_seconds", "From the last sample to the turn.", AGE_S)
        self._frame_age = histogram("edge_frame_age_seconds", "Of the picture used.", AGE_S)
        self._lost = counter("edge_audio_lost_samples", "Zero-filled samples heard (16 kHz).")
        self._floor = counter("edge_floor_seconds", "Time in each floor state.", "floor")
        self._asked = counter("edge_delegations_asked", "Questions handed on.")
        self._delegations = counter("edge_delegations", "Questions by their end.", "outcome")
        for outcome in ("answered", "kept", "failed", "cancelled"):
            self._delegations.labels(outcome)
        self._response = histogram(
            "edge_response_seconds", "From the last word heard to what is said.", RESPONSE_S
        )
        self._stop = histogram(
            "edge_stop_seconds", "From the first word heard over our speech to silence.", STOP_S
        )

    def _count_delegations(self, record: TurnRecord) -> None:
        for outcome in outcomes(record.turn.events):
            self._delegations.labels(outcome).inc()
        for event in record.turn.events:
            if event.kind in _ENDS and event.id.removesuffix(NOTICE) == self._pending:
                self._pending = None
        if self._pending is not None and _taken_back(self._pending, record):
            self._delegations.labels("cancelled").inc()
            self._pending = None
        if record.request is not None:
            self._asked.inc()
            self._pending = record.request.id

    def _observe_latencies(self, record: TurnRecord) -> None:
        """From the letters that the model itself hears, to the micro-turn: nothing here listens."""
        letters = record.decision.letters
        heard = letters.heard if letters else bool(record.decision.heard.strip())
        answered_s = record.timings.total_ms / 1000
        if heard:
            self._heard_s = 0.0
        elif self._heard_s is not None:
            self._heard_s += TURN_S
        if answers(record.said) and self._heard_s is not None:
            if self._heard_s <= FORGET_S:
                self._response.observe(self._heard_s + answered_s)
            self._heard_s = None
        decision = record.decision
        if not record.turn.voice.speaking:
            self._barged_s = self._silent_s = None
            return
        silent = decision.stop or decision.hesitate
        if self._barged_s is not None or heard or silent:
            self._barged_s = (self._barged_s or 0.0) + TURN_S
        if not silent:
            self._silent_s = None
        elif self._silent_s is None and self._barged_s is not None:
            self._silent_s = self._barged_s + answered_s + self._fade_s
        if decision.stop and self._silent_s is not None:
            self._stop.observe(self._silent_s)
            self._barged_s = self._silent_s = None


def _taken_back(request_id: str, record: TurnRecord) -> bool:
    """By the model, by somebody outside, or for a new one; one that is to be kept is answered all
    the same."""
    replaced = record.request is not None and not request_id.startswith(KEPT)
    return replaced or not record.turn.background.pending


def _sound_figures(sound: SoundStatus) -> Iterable[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    state = GaugeMetricFamily(
        "edge_audio_device", "1: the device is in this state.", labels=["device", "state"]
    )
    xruns = CounterMetricFamily("edge_audio_xruns", "Gaps at the device.", labels=["device"])
    back = CounterMetricFamily(
        "edge_audio_reopened", "It was lost and came back.", labels=["device"]
    )
    for name, end in ((MICROPHONE, sound.microphone), (LOUDSPEAKER, sound.loudspeaker)):
        for possible in DeviceState:
            state.add_metric([name, possible.value], end.state is possible)
        xruns.add_metric([name], end.xruns)
        back.add_metric([name], end.reopened)
    yield from (state, xruns, back)
    gauges = (
        ("edge_audio_buffer_seconds", "From the device to the loudspeaker.", sound.buffer_ms),
        ("edge_audio_reference_delay_seconds", "Of our voice to its echo.", sound.delay_ms),
    )
    for name, text, value_ms in gauges:
        yield GaugeMetricFamily(name, text, value_ms / 1000)
    if sound.drift_ppm is not None:
        text = "By which the loudspeaker's clock is faster than the microphone's."
        yield GaugeMetricFamily("edge_audio_clock_drift_ratio", text, sound.drift_ppm / 1e6)
    yield CounterMetricFamily(
        "edge_audio_underrun_samples",
        "Samples of silence played because sound came late (16 kHz).",
        sound.underrun_samples,
    )
