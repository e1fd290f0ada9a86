"""A network between device and broker that can be cut so that packets are dropped, not refused."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from broker import COMMON, MOSQUITTO, Broker, free_port
from typing_extensions import Self

SWALLOW = ("root", "tbf", "rate", "8bit", "burst", "1", "limit", "1")
"""For `tc`: a bucket that holds no packet, so each is dropped and no one is told."""


class CuttableNetwork:
    """The broker runs in a network namespace of its own, at the end of two cables.

    `broker.url` leads over the worker's cable, `device_url` over the device's, which can be cut.
    """

    def __init__(self, folder: Path) -> None:
        number = os.getpid() % 100_000
        self._space = f"edge-{number}"
        self._cables = [(f"e{number}{end}0", f"e{number}{end}1") for end in ("d", "w")]
        """Device's and worker's, here and in the namespace."""
        self.broker = _BrokerInSpace(folder, self._space, "10.213.77.6")
        self.device_url = f"mqtt://10.213.77.2:{self.broker.port}"

    def __enter__(self) -> Self:
        try:
            self._lay()
            self.broker.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.broker.kill()
        for here, _ in self._cables:
            subprocess.run(["ip", "link", "delete", here], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", self._space], capture_output=True, check=False)

    def cut(self) -> None:
        here, there = self._cables[0]
        ip("tc", "qdisc", "add", "dev", here, *SWALLOW)
        ip("ip", "netns", "exec", self._space, "tc", "qdisc", "add", "dev", there, *SWALLOW)

    def mend(self) -> None:
        here, there = self._cables[0]
        ip("tc", "qdisc", "delete", "dev", here, "root")
        ip("ip", "netns", "exec", self._space, "tc", "qdisc", "delete", "dev", there, "root")

    def _lay(self) -> None:
        ip("ip", "netns", "add", self._space)
        inside = ("ip", "-n", self._space)
        ip(*inside, "link", "set", "lo", "up")
        for number, (here, there) in enumerate(self._cables):
            ip("ip", "link", "add", here, "type", "veth", "peer", "name", there)
            ip("ip", "link", "set", there, "netns", self._space)
            ip("ip", "address", "add", f"10.213.77.{4 * number + 1}/30", "dev", here)
            ip(*inside, "address", "add", f"10.213.77.{4 * number + 2}/30", "dev", there)
            ip("ip", "link", "set", here, "up")
            ip(*inside, "link", "set", there, "up")


class _BrokerInSpace(Broker):
    def __init__(self, folder: Path, space: str, host: str) -> None:
        super().__init__(folder, free_port(), host)
        self._space = space

    def command(self) -> list[str]:
        return ["ip", "netns", "exec", self._space, *super().command()]

    def settings_text(self) -> str:
        return f"listener {self.port} 0.0.0.0\n{COMMON}"


def ip(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


@functools.cache
def why_no_networks() -> str:
    """Why they cannot be made here; empty if they can."""
    if MOSQUITTO is None:
        return "mosquitto is not installed"
    if missing := [name for name in ("ip", "tc") if shutil.which(name) is None]:
        return f"{' and '.join(missing)} (iproute2) is not installed"
    network = CuttableNetwork(Path())
    try:
        network._lay()
        network.cut()
        network.mend()
    except OSError as error:
        return f"network namespaces are not allowed here: {error}"
    finally:
        network.__exit__(None, None, None)
    return ""
