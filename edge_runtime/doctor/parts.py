"""What the runtime is made of: voice, words, model, actions, ROS."""

from __future__ import annotations

import os
import statistics
import time
from importlib.util import find_spec

import numpy as np

from edge_runtime.app import engine_for, phrases_for, synthesizer_for
from edge_runtime.background.doubts import doubts
from edge_runtime.doctor.finding import Case, Finding, Value, absent, failed, ok, warning
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.interfaces import Engine
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, MicroTurn
from edge_runtime.senses import TOPICS
from edge_runtime.voice import spoken_language

TEXT = "One, two, three."
SLOW_SHARE = 0.7
"""Of the time that speech lasts: what takes longer to be made comes too late beside the rest."""
TURNS = 20
FRAME_SHAPE = (480, 640, 3)
ROS = "/opt/ros"


def voice(case: Case) -> list[Finding]:
    """A few words are spoken, into nothing."""
    synthesizer = synthesizer_for(case.config)
    begun_s = time.monotonic()
    first_s, samples = 0.0, 0
    try:
        synthesizer.check()
        checked_s = time.monotonic()
        for block in synthesizer.synthesize(TEXT):
            first_s = first_s or time.monotonic() - checked_s
            samples += len(block)
    except EdgeRuntimeError as error:
        return [failed("voice", str(error))]
    ended_s, said_s, chosen = time.monotonic(), samples / SAMPLE_RATE_HZ, case.config.voice
    name = chosen.model.stem if chosen.engine == "piper" and chosen.model else chosen.voice
    if not samples:
        return [failed("voice", f"{name} gives no sound", "Try another voice.")]
    values: dict[str, Value] = {
        "engine": chosen.engine,
        "voice": name,
        "first_sound_ms": round(first_s * 1000),
        "took_ms": round((ended_s - begun_s) * 1000),
    }
    text = (
        f"{chosen.engine} {name}: {said_s:.1f} s of speech, the first sound after "
        f"{values['first_sound_ms']} ms"
    )
    if doubt := spoken_language.doubt(case.config):
        what, _, remedy = doubt.partition(". ")
        return [warning("voice", f"{text}; {what}", remedy, **values)]
    if ended_s - checked_s > SLOW_SHARE * said_s:
        text = f"{text}; it takes {ended_s - checked_s:.1f} s to speak that: answers will be torn"
        return [warning("voice", text, "Take a smaller voice, or a faster machine.", **values)]
    return [ok("voice", text, **values)]


def model(case: Case) -> list[Finding]:
    """Its file against its hash, its words, and micro-turns of silence through the engine. Where
    TensorRT has no plan yet, it is built, which can take minutes."""
    engine = engine_for(case.config)
    try:
        with engine:
            times_ms = [_step_ms(engine, index) for index in range(TURNS)]
            identity = dict(engine.identity)
        phrases_for(case.config, engine.manifest)
    except EdgeRuntimeError as error:
        return [failed("model", str(error))]
    typical_ms, longest_ms = statistics.median(times_ms), max(times_ms)
    values: dict[str, Value] = {
        **identity,
        "compute_ms": round(typical_ms, 2),
        "longest_ms": round(longest_ms, 2),
    }
    text = (
        f"{identity['name']} {identity['version']} ({identity['sha256'][:12]}) on "
        f"{identity['backend']}: a micro-turn takes {typical_ms:.1f} ms, the longest of {TURNS} "
        f"{longest_ms:.1f} ms, of {TURN_MS}"
    )
    remedy = "Close other programs; see governor and temperature; or use a GPU."
    if typical_ms > TURN_MS:
        return [failed("model", f"{text}: too slow", remedy, **values)]
    if typical_ms > case.config.health.compute_p99_ms:
        return [warning("model", f"{text}: slow", remedy, **values)]
    return [ok("model", text, **values)]


def _step_ms(engine: Engine, index: int) -> float:
    """One micro-turn of silence with a grey picture."""
    pcm = np.zeros((2, TURN_SAMPLES), np.float32)
    frame = np.full(FRAME_SHAPE, 128, np.uint8)
    begun_ns = time.perf_counter_ns()
    engine.step(MicroTurn(index, 0, pcm, frame=frame, frame_age_ms=0.0))
    return (time.perf_counter_ns() - begun_ns) / 1e6


def actions(case: Case) -> list[Finding]:
    """Phrases that lead nowhere."""
    return [warning("actions", doubt) for doubt in doubts(case.config)]


def ros(case: Case) -> list[Finding]:
    """ROS 2, sourced; or its topics without it, where the configuration wants these."""
    config, found = case.config, []
    if config.ros.dds and find_spec("cyclonedds") is None:
        remedy = (
            "pip install 'edge-runtime[dds]' (on arm64 after Cyclone DDS itself: Without ROS, in "
            "ros2_ws/README.md), or ros.dds: false."
        )
        found.append(failed("ros", "ros.dds needs cyclonedds, which is not installed", remedy))
    needed = TOPICS in (config.audio.source, config.video.source)
    if find_spec("rclpy") is not None:
        found.append(_sourced())
        return found
    there = sorted(path.name for path in case.at(ROS).glob("*") if (path / "setup.bash").exists())
    if there:
        text = f"{', '.join(there)} is installed and not sourced, or for another Python"
        remedy = f"source {ROS}/{there[-1]}/setup.bash"
        found.append((failed if needed else absent)("ros", text, remedy))
    elif needed:
        text = "sound or pictures come from ROS topics, and there is no ROS 2"
        found.append(failed("ros", text, "Install it, or choose another audio.source."))
    elif config.ros.dds and not found:
        found.append(ok("ros", "no ROS 2; its topics are published over Cyclone DDS"))
    return found or [absent("ros", "no ROS 2")]


def _sourced() -> Finding:
    distribution = os.environ.get("ROS_DISTRO", "unknown")
    if find_spec("edge_interaction_msgs") is None:
        remedy = "Build and source the workspace: ros2_ws/README.md."
        text = f"ROS 2 {distribution}, without our messages"
        return warning("ros", text, remedy, distribution=distribution)
    return ok("ros", f"ROS 2 {distribution} with our messages", distribution=distribution)
