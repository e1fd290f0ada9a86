"""Sound cards without hardware: a PulseAudio server of the test's own, reached through ALSA's
`pulse` plugin, as on any desktop. PortAudio, PyAudio and ALSA are the real ones.

A card is a null sink: what is played to it is heard in its monitor, as by a microphone before a
loudspeaker. `unplug` takes it away with whatever plays and records there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ALSA = Path("/usr/share/alsa/alsa.conf")
PULSE_PLUGIN = "libasound_module_pcm_pulse.so"
RATE_HZ = 48_000


def why_no_sound() -> str:
    """What is missing for virtual cards; empty if nothing is."""
    try:
        import pyaudio  # noqa: F401
    except ImportError:
        return "needs PyAudio: pip install 'edge-runtime[audio]'"
    if not shutil.which("pulseaudio") or not shutil.which("pactl"):
        return "needs PulseAudio: apt install pulseaudio pulseaudio-utils"
    if not ALSA.exists() or not any(Path("/usr/lib").glob(f"*/alsa-lib/{PULSE_PLUGIN}")):
        return "needs ALSA's PulseAudio plugin: apt install libasound2-plugins"
    return ""


needs_virtual_sound = pytest.mark.skipif(bool(why_no_sound()), reason=why_no_sound() or "-")


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.01)


@dataclass
class VirtualSound:
    """The server, and its cards by name."""

    folder: Path
    process: subprocess.Popen[bytes]
    _modules: dict[str, list[str]] = field(default_factory=dict)

    def plug(self, card: str, channels: int = 2, tone_hz: int | None = 440) -> None:
        """Connect a card, with a tone in the room; None: its microphone gives exact zeros."""
        sink = ["module-null-sink", f"sink_name={card}", f"rate={RATE_HZ}", f"channels={channels}"]
        self._modules[card] = [self._control("load-module", *sink)]
        if tone_hz is not None:
            self.sound(card, tone_hz)

    def sound(self, card: str, tone_hz: int) -> None:
        tone = ["module-sine", f"sink={card}", f"frequency={tone_hz}"]
        self._modules[card].append(self._control("load-module", *tone))

    def hush(self, card: str) -> None:
        """Whatever sounds in the room ends: from then on, exact zeros."""
        while len(self._modules[card]) > 1:
            self._control("unload-module", self._modules[card].pop())

    def unplug(self, card: str) -> None:
        self.hush(card)
        self._control("unload-module", self._modules.pop(card)[0])

    def unplug_all(self) -> None:
        for card in list(self._modules):
            self.unplug(card)

    def freeze(self) -> None:
        """The server, and with it every card, stands still."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _control(self, *command: str) -> str:
        done = subprocess.run(
            ["pactl", *command], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()


def _alsa_config(cards: tuple[str, ...]) -> str:
    return "".join(
        f'pcm.{card} {{ type pulse device "{card}" }}\n'
        f'pcm.{card}_mic {{ type pulse device "{card}.monitor" }}\n'
        for card in cards
    )


@contextmanager
def virtual_sound(folder: Path, *cards: str) -> Iterator[VirtualSound]:
    """A server without cards; ALSA knows `NAME` (loudspeaker) and `NAME_mic` of each of `cards`,
    plugged in or not."""
    folder.mkdir(mode=0o700, exist_ok=True)
    socket, config = folder / "pulse.socket", folder / "asound.conf"
    config.write_text(_alsa_config(cards))
    changes = {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_SERVER": f"unix:{socket}",
        "PULSE_COOKIE": str(folder / "cookie"),
        "ALSA_CONFIG_PATH": f"{ALSA}:{config}",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    server = [
        "pulseaudio",
        "--daemonize=no",
        "-n",
        "--use-pid-file=no",
        "--exit-idle-time=-1",
        "--realtime=no",
        "--high-priority=no",
        "--log-target=file:" + str(folder / "pulse.log"),
        f"--load=module-native-protocol-unix auth-anonymous=1 socket={socket}",
    ]
    process = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(process))
        yield VirtualSound(folder, process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(timeout=30)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _answers(process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "pulseaudio does not start"
    asked = subprocess.run(["pactl", "info"], capture_output=True, timeout=30, check=False)
    return asked.returncode == 0
