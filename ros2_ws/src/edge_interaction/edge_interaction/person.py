"""Brings sound and pictures to the node as a robot's drivers do: the person of the demonstration,
who hears the device's speech through the topics too, or recordings.

    ros2 run edge_interaction person --ros-args -p seed:=2
    ros2 run edge_interaction person --ros-args -p audio:=talk.wav -p video:=talk.mp4
"""

from __future__ import annotations

import array
import math
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from edge_interaction.main import spin, stop_on_signals
from edge_interaction.wire import RosWire, message_class, qos_profile
from edge_runtime.demo.person import TURNS_PER_S, Person
from edge_runtime.demo.scenes import Stage
from edge_runtime.interfaces import AudioSource, FrameSource
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, AudioReading, Frame
from edge_runtime.pacing import TURN_NS, MonotonicClock
from edge_runtime.sinks import topics
from edge_runtime.sinks.messages import Publication, pcm16, stamp
from edge_runtime.sources.recording import RecordingSource

FRAME_ID = "person"


class PersonNode(Node):
    """Publishes `audio_in` and `image` in micro-turns of 200 ms, stamped with their capture."""

    def __init__(self) -> None:
        super().__init__("person")
        for name, default in {"audio": "", "video": "", "seed": 1, "seconds": 90.0}.items():
            self.declare_parameter(name, default)
        self._wire = RosWire(self, [topics.AUDIO_IN])
        self._pictures = self.create_publisher(
            message_class(topics.IMAGE.type), topics.IMAGE.name, qos_profile(topics.IMAGE.qos)
        )
        self._listening = threading.Event()
        self._source: Any = None
        for topic, take in (
            (topics.MICRO_TURN, lambda message: self._listening.set()),
            (topics.SPEECH_AUDIO, self._hear),
        ):
            self.create_subscription(
                message_class(topic.type), topic.name, take, qos_profile(topic.qos)
            )

    def play(self, stop: threading.Event) -> None:
        """Until the conversation or the recording is over. Waits for the node to be active."""
        with ExitStack() as stack:
            source: AudioSource = stack.enter_context(self._make_source())
            while not self._listening.wait(0.1):
                if stop.is_set():
                    return
            self._source = source
            position = 0
            while not stop.is_set() and (reading := source.read_turn()) is not None:
                self._publish(source, reading, position)
                position += TURN_SAMPLES

    def _make_source(self) -> Any:
        def value(name: str) -> Any:
            return self.get_parameter(name).value

        audio, video = (Path(value(name)) if value(name) else None for name in ("audio", "video"))
        clock = MonotonicClock()
        if audio is not None or video is not None:
            return RecordingSource(audio, video, realtime=True, clock=clock)
        person = Person(value("seed"), clock, True, round(value("seconds") * TURNS_PER_S))
        stage = Stage(person)
        person.script = stage.script()
        return person

    def _hear(self, message: Any) -> None:
        if self._source is not None:
            self._source.play(np.asarray(message.data, np.float32) / np.float32(32768))

    def _publish(self, source: Any, reading: AudioReading, position: int) -> None:
        """The picture first, since the sound completes the micro-turn."""
        captured_ns = time.time_ns() - (time.monotonic_ns() - reading.captured_ns)
        frames: FrameSource = source
        seen = frames.latest(reading.captured_ns)
        if seen is not None:
            self._pictures.publish(_image(seen.frame, captured_ns))
        message = {
            "header": {"stamp": stamp(captured_ns - TURN_NS), "frame_id": FRAME_ID},
            "position": position,
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "channels": 1,
            "direction_rad": math.nan,
            "data": pcm16(reading.pcm[0]),
        }
        self._wire.write(Publication(topics.AUDIO_IN.name, topics.AUDIO_IN.type, message))


def _image(frame: Frame, stamp_ns: int) -> Any:
    image = message_class(topics.IMAGE.type)()
    image.header.frame_id = FRAME_ID
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    image.height, image.width, _ = frame.shape
    image.encoding, image.step = "rgb8", 3 * frame.shape[1]
    image.data = array.array("B", frame.tobytes())
    return image


def main(args: Sequence[str] | None = None) -> int:
    stop = stop_on_signals()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = PersonNode()
    playing = threading.Thread(target=node.play, args=(stop,), daemon=True)
    playing.start()
    try:
        spin(node, lambda: stop.is_set() or not playing.is_alive())
        stop.set()
        playing.join()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
