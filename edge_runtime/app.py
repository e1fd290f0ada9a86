"""The composition root: with `senses.py` it alone names concrete classes, and puts a device
together."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

from edge_runtime import __version__
from edge_runtime.assemble import Assembler
from edge_runtime.background.commands import Commands
from edge_runtime.background.kept_timers import KeptTimers
from edge_runtime.background.local import LocalBackground
from edge_runtime.background.skills import COMMAND, EXACT, knows
from edge_runtime.background.timers import Timers
from edge_runtime.background.transcribe import (
    PocketSphinxTranscriber,
    ProcessTranscriber,
    SpellingTranscriber,
    Transcriber,
)
from edge_runtime.background.volume import Volume
from edge_runtime.config import Config
from edge_runtime.decide import FloorDecider, states
from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.delegation.confirmed import UNREACHABLE_WORDS, ConfirmedBackground
from edge_runtime.delegation.context import Heard
from edge_runtime.delegation.fallback import FallbackBackground
from edge_runtime.delegation.keep_words import KeepWords
from edge_runtime.delegation.kept import Spoken
from edge_runtime.delegation.opus import OpusStream
from edge_runtime.delegation.outbox import Outbox
from edge_runtime.delegation.packing import Abilities
from edge_runtime.delegation.remote import BROKEN_OFF_WORDS, EXPIRED_WORDS, MqttBackground
from edge_runtime.delegation.tasks import Tasks
from edge_runtime.delegation.wire import MAX_ACTIONS, Ability
from edge_runtime.device_status import DeviceStatus
from edge_runtime.dialogue import KEPT_WORDS, UNDONE_WORDS, Dialogue
from edge_runtime.errors import ConfigError
from edge_runtime.health import ENGINE, HealthMonitor, State
from edge_runtime.inference.character_model import CharacterModel
from edge_runtime.inference.encode import in_models_size
from edge_runtime.inference.engine import ModelEngine
from edge_runtime.inference.manifest import Manifest
from edge_runtime.inference.onnx import OnnxEngine, OnnxOptions
from edge_runtime.inference.plan import default_cache
from edge_runtime.inference.tensorrt import Phase, TensorRtEngine, TensorRtOptions
from edge_runtime.interfaces import (
    Adjustable,
    Background,
    Clock,
    Sink,
    Switchable,
    Voice,
)
from edge_runtime.loop import Loop, Parts
from edge_runtime.machine_health import MachineHealth
from edge_runtime.masking import masked_within
from edge_runtime.pacing import MonotonicClock, boot_ns
from edge_runtime.recording_format import started
from edge_runtime.reference_engine import reference_engine_folder
from edge_runtime.remote_control import RemoteControl
from edge_runtime.senses import (
    Senses,
    camera_reopened,
    camera_state,
    dropped_samples_of,
    gain_of,
    sound_status_of,
)
from edge_runtime.sinks.broadcast import Broadcast
from edge_runtime.sinks.conversation import ConversationFile
from edge_runtime.sinks.dds import DdsWire
from edge_runtime.sinks.diagnostics import diagnostics
from edge_runtime.sinks.home_assistant import HomeAssistant, HomeSettings
from edge_runtime.sinks.live import LiveEvents
from edge_runtime.sinks.live_page import live_page
from edge_runtime.sinks.messages import TurnMessages, action_topics
from edge_runtime.sinks.metrics import (
    ACTIONS_LOST,
    COMMANDS_REFUSED,
    PAYLOADS_IGNORED,
    Metrics,
)
from edge_runtime.sinks.mqtt_actions import MqttActions
from edge_runtime.sinks.queue import QueueSink
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sinks.rotation import Limits, Rotation
from edge_runtime.sinks.sight import PRESENT
from edge_runtime.sinks.statistics import Statistics
from edge_runtime.sinks.topics_sink import TopicsSink
from edge_runtime.sinks.turn_health import TurnHealth, Watched
from edge_runtime.sinks.web import Live, PatientWebServer, WebServer
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.voice.espeak import EspeakSynthesizer
from edge_runtime.voice.mouth import Mouth, Synthesizer
from edge_runtime.voice.phrases import Phrases
from edge_runtime.voice.piper import PiperSynthesizer
from edge_runtime.voice.spoken_form import AsSpoken

log = logging.getLogger(__name__)
AtBroker = MqttBackground | MqttActions | HomeAssistant
"""Each with a connection of its own."""
_MISHAPS: dict[type[AtBroker], tuple[str, Callable[[Any], int]]] = {
    MqttActions: (ACTIONS_LOST, attrgetter("unsent")),
    HomeAssistant: (COMMANDS_REFUSED, attrgetter("bad_commands")),
    MqttBackground: (PAYLOADS_IGNORED, attrgetter("bad_payloads")),
}
RECORDER_QUEUE = 256
"""Turns that may wait for the disk: 51 s."""


def engine_for(
    config: Config,
    on_phase: Callable[[Phase], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ModelEngine:
    """Not yet active. `on_phase` is told when it builds a plan, loads it and is ready; `stop` is
    asked whether to end a build, with StoppedError."""
    chosen = config.engine
    folder = chosen.folder or reference_engine_folder()
    if chosen.backend == "tensorrt":
        return TensorRtEngine(
            folder,
            TensorRtOptions(
                chosen.precision or "fp16",
                chosen.cache or default_cache(),
                chosen.workspace_mb,
                chosen.optimization_level,
            ),
            on_phase,
            stop,
        )
    precision = chosen.precision or "fp32"
    cache = chosen.cache or default_cache()
    return OnnxEngine(
        folder,
        OnnxOptions(chosen.threads, chosen.provider, precision, cache, chosen.workspace_mb),
    )


def synthesizer_for(config: Config) -> Synthesizer:
    chosen = config.voice
    voice: Synthesizer = EspeakSynthesizer(chosen.voice, chosen.rate_wpm, chosen.pitch)
    if chosen.engine == "piper" and chosen.model is not None:
        voice = PiperSynthesizer(chosen.model, chosen.rate_wpm, chosen.speaker)
    return AsSpoken(voice, config.device.language)


def decider_for(config: Config, manifest: Manifest) -> FloorDecider:
    return FloorDecider(manifest, config.decision.eagerness, CharacterModel.load(manifest))


def phrases_for(config: Config, manifest: Manifest, more: Sequence[str] = ()) -> Phrases:
    """The words for what the model can say, and for `more` acts. Raises ConfigError."""
    acts = [*manifest.vocabularies.act, "backchannel", UNDONE_WORDS, *more]
    return Phrases.load(config.voice.phrases, config.device.language, config.device.name, acts)


@dataclass(frozen=True)
class Device:
    """Everything acquired and ready to run."""

    loop: Loop
    statistics: Statistics
    health: HealthMonitor
    control: RemoteControl
    notes: Sequence[str]
    manifest: Manifest
    engine: Mapping[str, Any]
    voice: Voice


@contextmanager
def device(
    config: Config,
    senses: Senses,
    sinks: Sequence[Sink] = (),
    out: Path | None = None,
    control: RemoteControl | None = None,
    health: HealthMonitor | None = None,
    must_record: bool = False,
    timers: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Device]:
    """Acquire all parts in order, and release them in reverse.

    With `out`, the run's recording and conversation are written there, and not into the configured
    recording. Sinks given run as they are: wrap a slow one in a QueueSink. `control` and `health`
    may be given where somebody outside needs them before the device is ready. Where the configured
    recording cannot be begun the device goes on without it and tries again; with `must_record`
    RecordingError is raised. `timers` is the file in which timers outlive a restart. Once
    `stop` says so no engine is built any more: StoppedError.
    """
    control = control or RemoteControl()
    health = health or HealthMonitor(senses.clock.now_ns)
    delegates = _delegates(config, senses)
    keeps = delegates and config.delegation.outbox is not None
    with ExitStack() as stack:
        enter = stack.enter_context
        engine = enter(engine_for(config, lambda phase: _tell(health, phase), stop))
        manifest = engine.manifest
        acts = _mqtt_actions(config, senses, control)
        more = [BROKEN_OFF_WORDS] * delegates + [KEPT_WORDS, EXPIRED_WORDS] * keeps
        more += [UNREACHABLE_WORDS] * (acts is not None)
        phrases = phrases_for(config, manifest, more)
        voice = enter(Mouth(synthesizer_for(config), block=not senses.realtime))
        abilities = abilities_of(config, manifest)
        actions = tuple(one.name for one in abilities)
        at_broker: list[AtBroker] = []
        running = _timers(timers, senses, health, enter)
        background, noted = _background(
            config, senses, abilities, at_broker, health, running, phrases, control, enter
        )
        statistics = enter(Statistics())
        stack.callback(control.disconnect)
        # Before they are opened: what is off stays closed.
        _connect_switches(config, senses, control)
        # The camera first: it takes a second, and the sound of that second would be lost.
        one_source: object = senses.audio
        if senses.frames is not None and senses.frames is not one_source:
            enter(senses.frames)
        audio = enter(senses.audio)
        # Files last: what cannot run leaves none behind.
        judge = _health(config, senses, health, control, at_broker, enter)
        all_sinks: list[Sink] = [statistics, judge, *noted, *sinks]
        status = DeviceStatus(config.device.name, health, control)
        bodies: list[TopicsSink | MqttActions] = []
        if senses.realtime and not senses.staged:
            on_topics = [_dds_topics(config, health, control, enter)] if config.ros.dds else []
            bodies += on_topics
            shown = _at_home(config, senses, status, manifest, actions, at_broker, enter)
            all_sinks += [*on_topics, *shown]
        if acts is not None:
            at_broker.append(acts)
            bodies.append(acts)
            all_sinks.append(enter(QueueSink(acts, "mqtt-actions")))
            background = ConfirmedBackground(
                background,
                acts,
                lambda: phrases.words(UNREACHABLE_WORDS),
                senses.clock,
                config.delegation.patience_s,
            )
        keep_earlier = not senses.staged  # of a show there is another at any time
        recorder = _recorder(
            *(config, engine.identity, manifest),
            senses.clock if senses.realtime else None,
            keep_earlier,
        )
        recording = _recording(config, recorder, out, health, must_record)
        all_sinks += [enter(sink) for sink in _files(recording, out, senses.realtime, keep_earlier)]
        if senses.realtime:
            all_sinks += _watched(config, senses, status, all_sinks, recording, at_broker, enter)
        parts = Parts(
            audio=audio,
            assembler=Assembler(senses.frames, config.video.max_age_ms),
            engine=engine,
            decider=decider_for(config, manifest),
            voice=voice,
            dialogue=Dialogue(
                background,
                phrases.words,
                config.device.language,
                config.background.deadline_s,
                actions=actions,
                send_frame=config.delegation.send_frame,
                keep=KeepWords(config.delegation.keep if keeps else ()),
                heard=_heard(config, senses, manifest, enter),
            ),
            sinks=all_sinks,
            compute_clock=MonotonicClock(),
            fade_ms=config.loop.fade_ms,
            realtime=senses.realtime,
            control=control,
        )
        loop = Loop(parts)
        for body in bodies:
            stack.callback(body.halt)  # before anything is released, which may take seconds
        notes = [*senses.notes(), *([] if senses.realtime else _kept_in(config))]
        yield Device(loop, statistics, health, control, notes, manifest, engine.identity, voice)


def _tell(health: HealthMonitor, phase: Phase) -> None:
    """What the engine does before the first micro-turn; after that, the turns speak for it."""
    if phase == "building":
        health.report(ENGINE, State.DEGRADED, "it builds its plan, which can take minutes")
    elif phase == "failed":
        health.report(ENGINE, State.FAILED, "it could not be started")
    elif phase in ("loading", "ready"):
        health.report(ENGINE, State.OK)


def _health(
    config: Config,
    senses: Senses,
    health: HealthMonitor,
    control: RemoteControl,
    at_broker: Sequence[AtBroker],
    enter: Callable[[Any], Any],
) -> Sink:
    """What judges the device; the machine below it, and whether it is fast enough, only in real
    time: a virtual clock waits."""
    limits = config.health
    links = config.delegation.broker is not None and senses.realtime
    if senses.realtime:
        writes = config.recording.path.parent if config.recording.path else Path.cwd()
        enter(MachineHealth(health, writes, limits.min_free_mb, limits.max_temperature_c))
    watched = Watched(
        live_microphone=isinstance(senses.audio, MicrophoneSource),
        camera=senses.frames is not None,
        workers=_delegates(config, senses),
        broker=(lambda: _trouble(at_broker)) if links else None,
        compute_p99_ms=limits.compute_p99_ms if senses.realtime else math.inf,
        missed_per_minute=limits.missed_per_minute,
        sound=sound_status_of(senses),
        dropped_samples=dropped_samples_of(senses),
        ear=senses.ear,
        eye=senses.eye,
    )
    judge: Sink = enter(
        TurnHealth(health, control, watched, senses.clock.now_ns, camera_state(senses))
    )
    return judge


def _trouble(at_broker: Sequence[AtBroker]) -> str:
    """Of the first that has no connection; empty where all have one."""
    return next((trouble for one in at_broker if (trouble := one.trouble)), "")


def abilities_of(config: Config, manifest: Manifest) -> tuple[Ability, ...]:
    """What the device can do, and how the configuration describes it: the actions of the model, and
    those of the configuration that only a background model asks for. Raises ConfigError."""
    known = [name for name in manifest.vocabularies.action if name != "none"]
    own = {
        name: Ability(
            name=name,
            description=chosen.description,
            phrases=tuple(chosen.phrases),
            answer=chosen.answer,
        )
        for name, chosen in config.actions.items()
    }
    found = {name: Ability(name=name) for name in known} | own
    if len(found) > MAX_ACTIONS:
        raise ConfigError(
            f"actions: with the model's {len(known)} these are {len(found)}, and a worker takes at "
            f"most {MAX_ACTIONS}. Leave some out."
        )
    return tuple(found.values())


def _background(
    config: Config,
    senses: Senses,
    abilities: Sequence[Ability],
    at_broker: list[AtBroker],
    health: HealthMonitor,
    timers: Timers,
    phrases: Phrases,
    control: RemoteControl,
    enter: Callable[[Any], Any],
) -> tuple[Background, list[Sink]]:
    """The device's own skills, behind the workers of a broker where one is configured; and the
    sinks that go with them."""
    ear: Transcriber
    if config.background.recogniser == "none":
        ear = SpellingTranscriber()
    else:
        ear = enter(ProcessTranscriber()) if senses.realtime else PocketSphinxTranscriber()
    commands = Commands.of(abilities)
    local: Background = enter(
        LocalBackground(
            ear,
            senses.clock,
            device_name=config.device.name,
            block=not senses.realtime,
            commands=commands,
            timers=timers,
            volume=Volume(
                lambda: control.volume if control.has_volume else None, control.set_volume
            ),
        )
    )
    chosen = config.delegation
    noted: list[Sink] = [Spoken(timers.told)]
    if not _delegates(config, senses):
        return local, noted
    known = Abilities(config.device.name, tuple(abilities))
    outbox = None if chosen.outbox is None else Outbox(chosen.outbox, chosen.keep_hours * 3600)
    remote = enter(
        MqttBackground(
            broker_for(config),
            known,
            senses.clock,
            chosen.patience_s,
            outbox,
            health=health,
            expired=lambda: phrases.words(EXPIRED_WORDS),
            broken_off=lambda: phrases.words(BROKEN_OFF_WORDS),
        )
    )
    at_broker.append(remote)
    skills = {"none": frozenset[str](), "commands": frozenset({COMMAND}), "skills": EXACT}
    here = partial(knows, commands=commands, skills=skills[chosen.local_first])
    return FallbackBackground(remote, local, here), [*noted, Spoken(remote.spoken)]


def _timers(
    path: Path | None, senses: Senses, health: HealthMonitor, enter: Callable[[Any], Any]
) -> Timers:
    """Those of the local skills; kept where there is a `path`."""
    # A machine that sleeps stops the monotonic clock, and not the person's tea.
    now_ns = boot_ns if isinstance(senses.clock, MonotonicClock) else senses.clock.now_ns
    if path is None:
        return Timers(now_ns)
    kept: KeptTimers = enter(KeptTimers(path, now_ns, health))
    return kept.timers


def _heard(
    config: Config, senses: Senses, manifest: Manifest, enter: Callable[[Any], Any]
) -> Heard:
    """Nothing is encoded where nothing is sent."""
    spells = any(tensor.role == "transcript" for tensor in manifest.outputs)
    if not _delegates(config, senses):
        return Heard(spells=spells)
    packing = enter(Tasks("packing"))
    return Heard(lambda: OpusStream(packing.put), spells)


def _delegates(config: Config, senses: Senses) -> bool:
    """On a virtual clock nothing is: what a network does is not repeatable."""
    return config.asks_workers and senses.realtime


def _kept_in(config: Config) -> list[str]:
    """A line where a run on a virtual clock leaves out what the configuration wants sent."""
    told = config.actions_on_mqtt
    parts = [
        *(["no question to a worker"] if config.asks_workers else []),
        *([f"no action over MQTT ({', '.join(told)})"] if told else []),
        *(["no word to Home Assistant"] if config.home_assistant.enabled else []),
        *(["nothing over DDS"] if config.ros.dds else []),
        *(["no page over HTTP"] if config.http.live else []),
    ]
    if not parts:
        return []
    return [f"with --speed max nothing is sent: {', '.join(parts)}. To try it, leave --speed out."]


def broker_for(config: Config) -> BrokerSettings:
    """Of a configuration with a broker."""
    chosen = config.delegation
    assert chosen.broker is not None, "config.py refuses what needs one and has none"
    return BrokerSettings.configured(chosen, chosen.broker)


def _connect_switches(config: Config, senses: Senses, control: RemoteControl) -> None:
    """Only who really captures can be told to stop it, and only who is heard to be louder."""
    if isinstance(senses.audio, Adjustable) and not config.audio.mute:
        control.connect_loudspeaker(senses.audio.set_volume, config.audio.volume)
    if isinstance(senses.audio, Switchable):
        control.connect(microphone=senses.audio.switch)
    if isinstance(senses.frames, Switchable):
        control.connect(camera=senses.frames.switch)


def _watched(
    config: Config,
    senses: Senses,
    status: DeviceStatus,
    sinks: Sequence[Sink],
    recording: Recorder | Rotation | None,
    at_broker: Sequence[AtBroker],
    enter: Callable[[Any], Any],
) -> list[Sink]:
    """Figures, health and what happens over HTTP, as far as the configuration wants them."""
    shown: list[Sink] = []
    health, control = status.health, status.control
    live: Live | None = None
    if config.http.live:
        broadcast = Broadcast()
        events = LiveEvents(broadcast, status.name, control, health, config.http.tell_heard)
        shown.append(enter(QueueSink(events, "live")))
        live = Live(broadcast, live_page(config.device.language), tuple(config.http.origins))
    metrics: Metrics | None = None
    if config.http.metrics:
        queues = [sink for sink in (*sinks, *shown) if isinstance(sink, QueueSink)]
        sound, eye = sound_status_of(senses), camera_state(senses)
        again, fade_ms = camera_reopened(senses), config.loop.fade_ms
        files = recording if isinstance(recording, Rotation) else None
        counted = _counted(at_broker)
        metrics = enter(
            Metrics(health, control, queues, sound, fade_ms, eye, again, files, counted)
        )
        shown.append(metrics)
    if config.http.port is not None:
        pages = metrics.text if metrics is not None else None
        server = WebServer(config.http.address, config.http.port, status.as_dict, pages, live)
        enter(PatientWebServer(server, config.http.port, health))
    return shown


def _counted(at_broker: Sequence[AtBroker]) -> dict[str, Callable[[], int]]:
    """What goes wrong on the broker, for the metrics."""
    return {name: partial(read, one) for one in at_broker for name, read in [_MISHAPS[type(one)]]}


def _mqtt_actions(config: Config, senses: Senses, control: RemoteControl) -> MqttActions | None:
    """Not yet acquired; None where none goes out over the broker."""
    if not config.actions_on_mqtt or not senses.realtime or senses.staged:
        return None
    return MqttActions(
        broker_for(config),
        config.device.name,
        config.actions,
        lambda: control.mode,
        config.delegation.patience_s,
    )


def _at_home(
    config: Config,
    senses: Senses,
    status: DeviceStatus,
    manifest: Manifest,
    actions: tuple[str, ...],
    at_broker: list[AtBroker],
    enter: Callable[[Any], Any],
) -> list[Sink]:
    """What a smart home is told over the broker."""
    shown: list[Sink] = []
    health, control = status.health, status.control
    if config.home_assistant.enabled:
        chosen = config.home_assistant
        settings = HomeSettings(
            config.device.name,
            chosen.prefix,
            states(manifest),
            chosen.tell_heard,
            chosen.tell_said,
            isinstance(senses.audio, Switchable),
            isinstance(senses.frames, Switchable),
            has_volume=control.has_volume,
            sees=PRESENT in manifest.vocabularies.seen and senses.frames is not None,
            actions=actions,
            asks_workers=config.asks_workers,
            name=chosen.name,
            area=chosen.area,
        )
        home = HomeAssistant(broker_for(config), settings, control, health)
        at_broker.append(home)
        shown.append(enter(QueueSink(home, "home-assistant")))
    return shown


def _limits(config: Config) -> Limits:
    recording = config.recording
    return Limits(
        max_bytes=recording.max_mb * 1e6,
        max_s=recording.max_hours * 3600,
        keep_bytes=recording.keep_mb * 1e6,
        keep_s=recording.keep_days * 86_400,
        min_free_bytes=config.health.min_free_mb * 1e6,
    )


def _dds_topics(
    config: Config,
    health: HealthMonitor,
    control: RemoteControl,
    enter: Callable[[Any], Any],
) -> TopicsSink:
    """The ROS 2 topics where no ROS is installed."""
    chosen, name = config.ros, config.device.name
    wire = DdsWire(
        chosen.domain,
        chosen.namespace,
        chosen.node_name,
        action_topics(config.actions),
        chosen.show_node,
        on_ack=lambda ack: sink.take_ack(ack),
    )
    sink = TopicsSink(
        wire,
        TurnMessages(
            config.actions, chosen.frame_id, lambda: control.mode, gain_of(config, control)
        ),
        diagnose=lambda stamp_ns: diagnostics(name, health.snapshot(), stamp_ns),
    )
    enter(wire)
    return cast(TopicsSink, enter(sink))


def _recorder(
    config: Config,
    identity: Mapping[str, Any],
    manifest: Manifest,
    clock: Clock | None = None,
    keep_earlier: bool = False,
) -> Callable[[Path], Recorder]:
    """What writes a file of this run, which notes the time of day where a real `clock` times it."""
    notes = {
        "engine": dict(identity),
        "config": masked_within(config.model_dump(mode="json")),
        "version": __version__,
    }
    frames = config.recording.frames

    def recorder(where: Path) -> Recorder:
        noted = notes | (started(clock.now_ns) if clock is not None else {})
        if frames == "model":
            fit = partial(in_models_size, manifest=manifest)
            return Recorder(where, noted, fit=fit, keep_earlier=keep_earlier)
        return Recorder(where, noted, frames, keep_earlier=keep_earlier)

    return recorder


def _recording(
    config: Config,
    recorder: Callable[[Path], Recorder],
    out: Path | None,
    health: HealthMonitor,
    must_record: bool,
) -> Recorder | Rotation | None:
    """Into `out` where it is given: the configured recording is the device's."""
    path = config.recording.path
    if out is not None:
        return recorder(out / "recording.mcap")
    if path is None:
        return None
    return Rotation(recorder, path, _limits(config), health=health, must_begin=must_record)


def _files(
    recording: Sink | None, out: Path | None, realtime: bool, keep_earlier: bool
) -> list[Sink]:
    """Sinks that write files: behind a queue in real time, in line on a virtual clock."""
    files: list[tuple[Sink, str]] = []
    if recording is not None:
        files.append((recording, "recording"))
    if out is not None:
        sound = ConversationFile(out / "conversation.wav", keep_earlier)
        files.append((sound, "conversation"))
    if not realtime:
        return [sink for sink, _ in files]
    return [QueueSink(sink, name, RECORDER_QUEUE) for sink, name in files]
