"""/events and the page for a screen, over a real socket: what is told, to whom, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from turn_records import a_record
from virtual_sound import wait_until

from edge_runtime.health import CAMERA, HealthMonitor, State
from edge_runtime.micro_turn import (
    Action,
    BackgroundState,
    Event,
    EventKind,
    Pcm,
    Request,
    Utterance,
    VoiceState,
)
from edge_runtime.remote_control import Mode, RemoteControl
from edge_runtime.sinks import live as live_sink
from edge_runtime.sinks import web
from edge_runtime.sinks.broadcast import KEEP_ALIVE, Broadcast
from edge_runtime.sinks.company import ENGAGED_TURNS
from edge_runtime.sinks.live import KINDS, LiveEvents
from edge_runtime.sinks.live_page import FILE, live_page
from edge_runtime.sinks.sight import GONE_TURNS
from edge_runtime.sinks.web import Live, WebServer

NOTHING: Pcm = np.zeros(0, np.float32)
NOON = Utterance("utterance-1", "It is noon.", "deliver")
STARTED, FINISHED, INTERRUPTED = (
    EventKind.UTTERANCE_STARTED,
    EventKind.UTTERANCE_FINISHED,
    EventKind.UTTERANCE_INTERRUPTED,
)
EventData = tuple[str, dict[str, Any]]


class Screen:
    """A device with its web server, without a loop: the test publishes the micro-turns."""

    def __init__(
        self,
        tell_heard: bool = False,
        origins: tuple[str, ...] = (),
        address: str = "127.0.0.1",
        **broadcast: int,
    ) -> None:
        self.control, self.health = RemoteControl(), HealthMonitor()
        self.broadcast = Broadcast(**broadcast)
        self.live = LiveEvents(self.broadcast, "kiosk", self.control, self.health, tell_heard)
        shown = Live(self.broadcast, live_page("en"), origins)
        self.server = WebServer(address, 0, lambda: {"state": "ok"}, live=shown)

    def __enter__(self) -> Screen:
        self.live.__enter__()
        self.server.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.server.__exit__(None, None, None)
        self.live.__exit__(None, None, None)

    def turn(self, *events: Event, **fields: Any) -> None:
        self.live.publish(a_record(events=events, **fields))

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read() if answer.status != 200 or path != "/events" else b""
        connection.close()
        return answer.status, answer.headers, body


class Watching:
    """A client of /events."""

    def __init__(self, screen: Screen, **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", screen.server.port, timeout=10)
        self.connection.request("GET", "/events", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200

    def next(self) -> EventData:
        kind = ""
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            assert line or kind is not None
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return kind, json.loads(line.removeprefix("data: "))

    def await_kind(self, kind: str) -> dict[str, Any]:
        while True:
            found, data = self.next()
            if found == kind:
                return data

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@pytest.fixture
def screen() -> Iterator[Screen]:
    with Screen() as one:
        yield one


def test_who_comes_is_told_at_once_how_it_is(
    screen: Screen,
) -> None:
    screen.health.report(CAMERA, State.DEGRADED, "it is covered")
    screen.live._show_health()
    screen.turn(said=NOON)
    screen.turn(Event(STARTED, NOON.id), voice=VoiceState(NOON.id, 1.0))
    wait_until(lambda: screen.broadcast._holds.keys() == {"state", "health", "said"})
    with contextlib.closing(Watching(screen)) as client:
        assert client.answer.headers["Content-Type"] == "text/event-stream"
        assert client.answer.headers["Cache-Control"] == "no-store"
        assert client.answer.headers["X-Accel-Buffering"] == "no"
        told = dict(client.next() for _ in range(3))
    assert told == {
        "state": {
            "state": "speaking",
            "floor": "listen",
            "speaking": True,
            "pending": False,
            "result_ready": False,
            "link_up": True,
            "mode": "normal",
            "capture": {},
        },
        "said": {"id": told["said"]["id"], "state": "started", "act": "deliver",
                 "text": "It is noon."},
        "health": {"device": "kiosk", "state": "degraded", "reasons": ["camera: it is covered"]},
    }  # fmt: skip
    assert told["said"]["id"].endswith("-utterance-1")


def test_the_state_is_one_word_for_a_screen_and_told_when_it_changes(screen: Screen) -> None:
    asked = BackgroundState(pending=True)
    with contextlib.closing(Watching(screen)) as client:
        screen.turn()
        screen.turn()
        screen.turn(heard="what ")
        screen.turn(background=asked)
        screen.turn(background=asked, voice=VoiceState("utterance-1", 1.0))
        screen.turn(background=BackgroundState(result_ready=True))
        screen.turn()
        for _ in range(ENGAGED_TURNS):
            screen.turn()
        screen.control.set_mode(Mode.QUIET)
        screen.turn()
        words = [client.await_kind("state") for _ in range(8)]
    assert [one["state"] for one in words] == [
        *("idle", "listening", "waiting", "speaking", "waiting", "listening", "idle", "idle"),
    ]
    assert words[-1]["mode"] == "quiet"


def test_what_is_said_is_told_as_it_begins_and_how_it_ends(screen: Screen) -> None:
    later = Utterance("utterance-2", "Shall I wake you?", "offer")
    with contextlib.closing(Watching(screen)) as client:
        screen.turn(said=NOON)
        screen.turn(Event(STARTED, NOON.id), said=later)
        screen.turn(Event(FINISHED, NOON.id), Event(STARTED, later.id))
        screen.turn(Event(INTERRUPTED, later.id, "wake you?"))
        told = [client.await_kind("said") for _ in range(4)]
    assert [(one["state"], one["text"], one.get("unsaid")) for one in told] == [
        ("started", "It is noon.", None),
        ("finished", "It is noon.", None),
        ("started", "Shall I wake you?", None),
        ("interrupted", "Shall I wake you?", "wake you?"),
    ]
    assert "said" not in screen.broadcast._holds


def test_who_comes_is_told_what_is_said_though_one_behind_it_was_taken_back(
    screen: Screen,
) -> None:
    later, speaks = Utterance("utterance-2", "Shall I wake you?", "offer"), VoiceState(NOON.id, 1.0)
    screen.turn(said=NOON)
    screen.turn(Event(STARTED, NOON.id), said=later, voice=speaks)
    screen.turn(Event(INTERRUPTED, later.id, later.text), voice=speaks)
    with contextlib.closing(Watching(screen)) as client:
        assert client.await_kind("said")["text"] == NOON.text


def test_who_comes_is_not_told_what_was_said_though_its_end_was_lost(screen: Screen) -> None:
    screen.turn(said=NOON)
    screen.turn(Event(STARTED, NOON.id), voice=VoiceState(NOON.id, 1.0))
    screen.turn(voice=VoiceState(NOON.id, 0.1))
    assert "said" in screen.broadcast._holds
    screen.turn()
    assert "said" not in screen.broadcast._holds


QUESTION = Request("request-1", NOTHING, "my secret")


def a_question(screen: Screen) -> None:
    asked = BackgroundState(pending=True)
    screen.turn(heard="my ")
    screen.turn(heard="secret", request=QUESTION)
    screen.turn(Event(EventKind.PROGRESS, QUESTION.id, "secret lookup"), background=asked)
    screen.turn(Event(EventKind.FAILED, QUESTION.id, "no secret"))
    screen.turn(request=QUESTION)
    screen.turn(background=asked)
    screen.turn()
    screen.turn(Event(EventKind.RESULT, "timer-1", "secret tea"), actions=(Action("wave"),))


def test_no_word_of_a_person_is_told(screen: Screen) -> None:
    with contextlib.closing(Watching(screen)) as client:
        a_question(screen)
        told = []
        while not told or told[-1][0] != "action":
            told.append(client.next())
        told.append(client.next())
    questions = [data for kind, data in told if kind == "question"]
    assert [one["state"] for one in questions] == [
        *("requested", "progress", "failed", "requested", "cancelled", "result"),
    ]
    assert "secret" not in json.dumps(told) and "heard" not in dict(told)
    assert screen.live._company.heard == ""


def test_what_is_heard_is_told_where_the_configuration_says_so() -> None:
    with Screen(tell_heard=True) as screen, contextlib.closing(Watching(screen)) as client:
        a_question(screen)
        assert [client.await_kind("heard") for _ in range(2)] == [
            {"text": "my"},
            {"text": "my secret"},
        ]
        assert client.await_kind("question")["text"] == "my secret"


def test_actions_are_told_with_who_wanted_them(screen: Screen) -> None:
    with contextlib.closing(Watching(screen)) as client:
        screen.turn(actions=(Action("wave"),), asked_actions=(Action("lamp_on"),))
        told = [client.await_kind("action") for _ in range(2)]
    assert told == [
        {"name": "lamp_on", "source": "background"},
        {"name": "wave", "source": "model"},
    ]


def test_who_is_seen_is_told_until_nobody_can_tell(screen: Screen) -> None:
    frame = np.zeros((8, 8, 3), np.uint8)

    def sees(present: float, waving: float) -> None:
        chances = {"seen": {"present": present, "waving": waving}}
        screen.turn(frame=frame, probabilities=chances)

    with contextlib.closing(Watching(screen)) as client:
        screen.turn()
        sees(0.9, 0.1)
        sees(0.9, 0.8)
        for _ in range(GONE_TURNS):
            sees(0.1, 0.1)
        screen.turn()
        told = [client.await_kind("seen") for _ in range(5)]
    assert told == [
        {"present": True, "waving": False},
        {"present": True, "waving": True},
        {"present": True, "waving": False},
        {"present": False, "waving": False},
        {"present": None},
    ]


def test_health_is_told_also_while_no_micro_turn_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_sink, "HEALTH_S", 0.02)
    with Screen() as screen, contextlib.closing(Watching(screen)) as client:
        assert client.await_kind("health")["state"] == "ok"
        screen.health.report(CAMERA, State.FAILED, "gone")
        assert client.await_kind("health")["reasons"] == ["camera: gone"]


def test_health_is_answered_while_screens_watch_and_the_ninth_is_refused(screen: Screen) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(Watching(screen))) for _ in range(8)]
        status, _, body = screen.get("/events")
        assert (status, body) == (503, web.FULL)
        for _ in range(3):
            assert screen.get("/health")[0] == 200
        clients[0].close()

        def noticed() -> bool:
            screen.turn(actions=(Action("wave"),))
            return len(screen.broadcast._listeners) == 7

        wait_until(noticed)
        stack.enter_context(contextlib.closing(Watching(screen)))


def test_screens_that_have_gone_make_room_while_nothing_happens(screen: Screen) -> None:
    screen.live._show_health()  # it is not told again while it stays the same
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(contextlib.closing(Watching(screen)))
            assert screen.get("/events")[0] == 503
        wait_until(lambda: not screen.broadcast._listeners, web.KEEP_ALIVE_S / 2)


def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    monkeypatch.setattr(web, "KEEP_ALIVE_S", 0.02)
    with contextlib.closing(Watching(screen)) as client:
        client.await_kind("health")
        assert client.answer.readline() == b"\n"
        assert client.answer.read(2 * len(KEEP_ALIVE)) == 2 * KEEP_ALIVE


def test_a_slow_client_loses_the_oldest_and_holds_up_nobody() -> None:
    with Screen(waiting=16) as screen, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", screen.server.port))
        slow.sendall(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: len(screen.broadcast._listeners) == 1)
        (listener,) = screen.broadcast._listeners
        named = 0
        while not listener.lost:  # buffers of the kernel fill first
            screen.broadcast.tell("action", {"name": str(named), "padding": "x" * 10_000})
            named += 1
        screen.turn(heard="a word")  # is among what comes last, whatever was lost
        screen.broadcast.tell("action", {"name": "last"})
        assert screen.get("/health")[0] == 200
        slow.settimeout(30)
        received = b""
        while b'"last"' not in received or b'"listening"' not in received:
            received += slow.recv(65_536)
    names = [int(one) for one in re.findall(rb'"name": "(\d+)"', received)]
    assert names == sorted(names) and len(names) < named


def test_who_has_lost_events_is_told_anew_what_holds() -> None:
    broadcast = Broadcast(waiting=2)
    with broadcast.listening() as listener:
        assert listener is not None
        broadcast.show("state", {"state": "idle"})
        for index in range(2):
            broadcast.tell("action", {"name": str(index)})
        told = (broadcast.take(listener, 0) or b"").decode()
        assert re.findall("event: (.*)", told) == ["action", "action", "state"]
        assert broadcast.take(listener, 0) == KEEP_ALIVE


def test_the_end_waits_neither_for_a_quiet_stream_nor_for_a_stalled_one() -> None:
    with contextlib.ExitStack() as stack:
        screen = Screen()
        screen.__enter__()
        stalled = stack.enter_context(socket.create_connection(("127.0.0.1", screen.server.port)))
        stalled.sendall(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: len(screen.broadcast._listeners) == 1)
        (listener,) = screen.broadcast._listeners
        while not listener.lost:  # it takes nothing
            screen.broadcast.tell("action", {"padding": "x" * 10_000})
        quiet = stack.enter_context(contextlib.closing(Watching(screen)))
        wait_until(lambda: len(screen.broadcast._listeners) == 2)
        begun_s = time.monotonic()
        screen.__exit__()
        assert time.monotonic() - begun_s < web.PATIENCE_S
        while quiet.answer.readline():
            pass  # it ends
        assert "web-request" not in [thread.name for thread in threading.enumerate()]


LOCAL = "http://localhost:3000"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9464", "Host": "127.0.0.1:9464"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": LOCAL, "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_only_its_own_page_and_those_that_are_named_may_read_it(
    headers: dict[str, str], code: int
) -> None:
    with Screen(origins=(LOCAL,)) as screen:
        status, answered, _ = screen.get("/events", **headers)
        assert status == code
        named = headers.get("Origin") == LOCAL
        assert answered.get("Access-Control-Allow-Origin") == (LOCAL if named else None)


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("192.168.1.20:9464", 200),
        ("[fe80::1]:9464", 200),
        ("localhost:9464", 200),
        ("robin:9464", 200),
        ("Robin.local.:9464", 200),
        ("robin.home.example:9464", 200),
        ("kiosk.lan:9464", 200),
        ("evil.example:9464", 403),
        ("robin.evil.example:9464", 403),
        ("local", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/events"])
def test_on_the_network_it_is_shown_to_who_asks_for_this_device(
    path: str, host: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Robin")
    monkeypatch.setattr(socket, "getfqdn", lambda name="": "robin.home.example")
    with Screen(origins=("http://kiosk.lan:9464",), address="0.0.0.0") as screen:
        for headers in ({}, {"Origin": f"http://{host}"}):
            status, _, body = screen.get(path, Host=host, **headers)
            assert status == code
            assert code == 200 or b"http.origins" in body
        assert screen.get("/health", Host=host)[0] == 200


def test_an_address_open_to_the_network_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    shown = Live(Broadcast(), live_page("en"))
    with WebServer("0.0.0.0", 0, dict, live=shown):
        pass
    assert "all that http.live shows are open to the network" in caplog.text


class TestPage:
    text = files("edge_runtime.sinks").joinpath(FILE).read_text(encoding="utf-8")

    def test_it_is_served_and_may_do_nothing_but_ask_this_server(self, screen: Screen) -> None:
        status, headers, body = screen.get("/")
        assert status == 200 and body.decode() == self.text
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        rules = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
        assert rules["default-src"] == "'none'" and rules["connect-src"] == "'self'"
        for kind in ("script-src", "style-src"):
            assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules[kind])

    def test_it_speaks_the_language_of_the_device(self) -> None:
        assert b'<html lang="de">' in live_page("de").body
        assert b'<html lang="&quot;&gt;&lt;script&gt;">' in live_page('"><script>').body

    def test_it_needs_nothing_from_elsewhere_and_writes_text_only(self) -> None:
        assert not re.search(r"https?:|src=|@import|url\(|<link", self.text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval", self.text)
        assert not re.search(r"\s(on\w+|style)=", self.text)  # the policy would forbid these
        assert len(self.text.splitlines()) <= 150

    def test_it_gives_up_on_a_silent_device_in_browsers_of_older_kiosks_too(self) -> None:
        assert "AbortSignal" not in self.text  # its timeout() came with Chrome 103, Firefox 100
        assert "new AbortController()" in self.text and "asking.abort()" in self.text

    def test_it_heeds_every_kind_of_event(self) -> None:
        for kind in KINDS:
            assert re.search(rf"^  {kind}\(", self.text, re.MULTILINE), kind

    def test_it_is_for_everybody(self) -> None:
        assert re.search(r'id="said" aria-live="polite"', self.text)
        for wish in ("prefers-reduced-motion: reduce", "prefers-color-scheme: dark"):
            assert f"@media ({wish})" in self.text


def test_every_kind_and_key_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "service.md").read_text(encoding="utf-8")
    section = text.partition("## A screen beside it")[2].partition("\n## ")[0]
    for kind in KINDS:
        assert f"| `{kind}` |" in section
    for key in ("live", "tell_heard", "origins"):
        assert key in section
