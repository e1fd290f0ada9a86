"""The device in a smart home, over a real Mosquitto; and in a real Home Assistant, where there is
an interpreter with its packages: HOME_ASSISTANT_PYTHON=.../bin/python make test ARGS='-k core'."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker import Broker, Device, needs_mosquitto, running_broker, wait_until

from edge_runtime.delegation.broker import BrokerSettings
from edge_runtime.errors import ConfigError
from edge_runtime.health import CAMERA, HealthMonitor, State
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Action,
    BackgroundState,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.remote_control import Mode, Orders, RemoteControl
from edge_runtime.sinks import home_assistant
from edge_runtime.sinks.home_assistant import HomeAssistant, HomeSettings, forget

pytestmark = needs_mosquitto
needs_home_assistant = pytest.mark.skipif(
    "HOME_ASSISTANT_PYTHON" not in os.environ,
    reason="HOME_ASSISTANT_PYTHON names no interpreter with the package homeassistant",
)
FLOORS = ("listen", "backchannel", "speak", "yield", "hold")
CONFIG = "homeassistant/device/edge_kiosk/config"
STATE, AVAILABILITY = "edge/kiosk/home/state", "edge/kiosk/home/availability"
ALL = (CONFIG, "edge/kiosk/home/#")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


class House:
    """The device's side: its controls, its health, and a clock that the test moves."""

    def __init__(self, broker: Broker, **settings: Any) -> None:
        self.control, self.health = RemoteControl(), HealthMonitor()
        self.now_s = 0.0
        self.index = 0
        self.home = HomeAssistant(
            BrokerSettings(broker.url),
            HomeSettings("kiosk", floors=FLOORS, **settings),
            self.control,
            self.health,
            lambda: self.now_s,
        )

    def turn(
        self,
        said: Utterance | str | None = None,
        stop: bool = False,
        asked: tuple[str, ...] = (),
        in_mouth: str | None = None,
        direction_rad: float | None = 0.6,
        **decision: Any,
    ) -> None:
        """One micro-turn, a second after the last."""
        self.now_s += 1
        if isinstance(said, str):
            said = Utterance("utterance-1", said, "deliver")
        seen = "seen" in decision.get("probabilities", {})
        frame = np.zeros((8, 8, 3), np.uint8) if seen else None
        turn = MicroTurn(
            self.index,
            0,
            np.zeros((2, TURN_SAMPLES), np.float32),
            frame=frame,
            direction_rad=direction_rad,
            voice=VoiceState(in_mouth, 5.0),
            background=BackgroundState(link_up=True),
        )
        floor = decision.pop("floor", "listen")
        self.home.publish(
            TurnRecord(
                turn,
                EngineOutput(self.index, {"floor": np.zeros(5, np.float32)}),
                Decision(self.index, floor, stop=stop, **decision),
                Timings(),
                said,
                asked_actions=tuple(Action(name) for name in asked),
            )
        )
        self.index += 1


def newest(client: Device, topic: str) -> bytes | None:
    found = [one.payload for one in client.messages if one.topic == topic]
    return found[-1] if found else None


def shown(client: Device) -> dict[str, Any]:
    payload = newest(client, STATE)
    return json.loads(payload) if payload else {}


def await_state(client: Device, **wanted: Any) -> dict[str, Any]:
    client.await_any(lambda: wanted.items() <= shown(client).items())
    return shown(client)


def removed(components: dict[str, Any]) -> dict[str, Any]:
    """Those that Home Assistant shall not have any more: nothing but a platform."""
    return {name: one for name, one in components.items() if one.keys() == {"platform"}}


def order(client: Device, name: str, payload: bytes) -> None:
    client.send(f"edge/kiosk/home/{name}/set", payload)


def test_it_introduces_itself_and_tells_nothing_of_what_it_hears(broker: Broker) -> None:
    house = House(broker)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, CONFIG))
        house.turn(said="It is noon.", floor="speak", heard="my secret")
        state = await_state(client, said="It is noon.")
        assert state == {
            "floor": "speak",
            "direction": 30,
            "link": "ON",
            "said": "It is noon.",
            "engaged": "ON",
            "health": "ok",
            "reasons": [],
            "quiet": "OFF",
            "microphone": "ON",
            "camera": "ON",
        }
        introduced = json.loads(newest(client, CONFIG) or b"")
        assert introduced["device"]["name"] == "kiosk"
        assert "suggested_area" not in introduced["device"]
        components = introduced["components"]
        assert components.keys() - removed(components).keys() == {
            *("floor", "engaged", "direction", "link", "health", "said"),
            *("stop", "cancel", "quiet", "say", "notify", "microphone", "camera"),
        }
        assert removed(components) == {
            "presence": {"platform": "binary_sensor"},
            "heard": {"platform": "sensor"},
            "action": {"platform": "event"},
            "volume": {"platform": "number"},
        }
        assert not any(b"secret" in one.payload for one in client.messages)
        client.await_any(lambda: newest(client, AVAILABILITY) == b"online")
    with Device(broker, "after", patterns=ALL) as after:
        after.await_any(lambda: newest(after, AVAILABILITY) == b"offline")


def test_a_direction_is_shown_for_ten_seconds_after_the_last_sound(broker: Broker) -> None:
    house = House(broker)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, AVAILABILITY))
        house.turn()
        for _ in range(48):
            house.turn(direction_rad=None)
        house.turn("It is noon.", direction_rad=None)
        assert await_state(client, said="It is noon.")["direction"] == 30
        house.turn(direction_rad=None)
        await_state(client, direction=None)
        house.turn(direction_rad=-0.6)
        await_state(client, direction=-30)
        house.control.connect(microphone=lambda on: None)
        house.control.switch_microphone(False)
        house.turn(direction_rad=None)
        await_state(client, direction=None)


def test_it_is_called_as_people_call_it_and_its_topics_as_ever(broker: Broker) -> None:
    house = House(broker, name="Kiosk am Eingang", area="Foyer")
    with Device(broker, patterns=ALL) as client, house.home:
        payload = json.loads(client.await_any(lambda: newest(client, CONFIG)))
    device = payload["device"]
    assert (device["name"], device["suggested_area"]) == ("Kiosk am Eingang", "Foyer")
    assert device["identifiers"] == ["edge_kiosk"]
    assert payload["components"]["say"]["command_topic"] == "edge/kiosk/home/say/set"


def test_without_workers_there_is_no_link_to_worry_about(broker: Broker) -> None:
    house = House(broker, asks_workers=False)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, CONFIG))
        components = json.loads(newest(client, CONFIG) or b"")["components"]
        assert removed(components)["link"] == {"platform": "binary_sensor"}


def test_commands_and_states_are_not_lost_on_the_way(broker: Broker) -> None:
    """Home Assistant before some later version gives components nothing of a `qos` for all."""
    house = House(broker)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, CONFIG))
        components = json.loads(newest(client, CONFIG) or b"")["components"]
        gone = removed(components)
        assert {one.get("qos") for name, one in components.items() if name not in gone} == {1}


def test_what_is_heard_is_told_where_the_configuration_says_so(broker: Broker) -> None:
    house = House(broker, tell_heard=True, tell_said=False)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, AVAILABILITY))
        for word in ("what ", "time"):
            house.turn(said="It is noon.", heard=word)
        state = await_state(client, heard="what time")
        assert "said" not in state
        for _ in range(10):
            house.turn()
        house.turn(heard="hello")
        await_state(client, heard="hello")


def test_a_device_without_a_camera_has_no_switch_for_one(broker: Broker) -> None:
    house = House(broker, has_camera=False)
    with Device(broker, patterns=ALL) as client, house.home:
        payload = json.loads(client.await_any(lambda: newest(client, CONFIG)))
    assert "command_topic" in payload["components"]["microphone"]
    assert payload["components"]["camera"] == {"platform": "switch"}


def test_what_the_configuration_does_not_show_any_more_is_removed(broker: Broker) -> None:
    """With the platform that it had, or Home Assistant does not know what is meant."""
    everything = House(broker, tell_heard=True, sees=True, actions=("wave",), has_volume=True)
    less = House(broker, tell_said=False, has_microphone=False, has_camera=False)
    with Device(broker, patterns=ALL) as client:
        with everything.home:
            payload = client.await_any(lambda: newest(client, CONFIG))
        before = json.loads(payload)["components"]
        assert not removed(before)
        with less.home:
            client.await_any(lambda: newest(client, CONFIG) != payload)
            after = json.loads(newest(client, CONFIG) or b"")["components"]
    gone = removed(after)
    shut = {"microphone", "camera", "volume"}
    assert gone.keys() == {"presence", "said", "heard", "action", *shut}
    assert after.keys() == before.keys()
    for name, component in gone.items():
        assert component["platform"] == before[name]["platform"]


def test_who_is_seen_is_there_and_is_gone_after_a_while(broker: Broker) -> None:
    house = House(broker, sees=True)

    def looks(chance: float, turns: int = 1) -> None:
        for _ in range(turns):
            house.turn(probabilities={"seen": {"present": chance, "waving": 0.1}})

    with Device(broker, patterns=ALL) as client, house.home:
        payload = json.loads(client.await_any(lambda: newest(client, CONFIG)))
        assert payload["components"]["presence"]["device_class"] == "occupancy"
        house.turn()
        await_state(client, presence=None)
        looks(0.2)
        await_state(client, presence="OFF")
        looks(0.9)
        await_state(client, presence="ON")
        looks(0.2, turns=24)
        assert await_state(client, presence="ON")
        looks(0.2)
        await_state(client, presence="OFF")
        looks(0.9)
        house.turn()
        await_state(client, presence=None)  # the camera is off: nobody can tell


def test_what_the_device_does_is_an_event(broker: Broker) -> None:
    """Once, for those who listen: an event that is kept would happen again at every start."""
    house = House(broker, actions=("wave", "lamp_on"))
    events = "edge/kiosk/home/action"
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, CONFIG))
        component = json.loads(newest(client, CONFIG) or b"")["components"]["action"]
        assert component["platform"] == "event" and component["state_topic"] == events
        assert component["event_types"] == ["wave", "lamp_on"]
        house.turn(actions=(Action("wave"), Action("unheard_of")))
        house.turn()
        house.turn(asked=("lamp_on",))
        client.await_any(lambda: b"lamp_on" in (newest(client, events) or b""))
        told = [json.loads(one.payload) for one in client.messages if one.topic == events]
        assert told == [
            {"event_type": "wave", "source": "model"},
            {"event_type": "lamp_on", "source": "background"},
        ]
        house.control.set_mode(Mode.STANDBY)
        house.turn(actions=(Action("wave"),))
        house.turn(floor="speak")
        await_state(client, floor="speak")
        assert sum(one.topic == events for one in client.messages) == 2
    with Device(broker, "after", patterns=ALL) as after:
        after.await_any(lambda: newest(after, AVAILABILITY) == b"offline")
        assert newest(after, events) is None


def test_commands_are_obeyed_and_their_effect_is_shown(broker: Broker) -> None:
    house = House(broker)
    told: list[tuple[str, bool]] = []
    house.control.connect(
        microphone=lambda on: told.append(("microphone", on)),
        camera=lambda on: told.append(("camera", on)),
    )
    told.clear()
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, STATE))
        order(client, "say", "Das Essen ist fertig, höre ich.".encode())
        order(client, "notify", b"The washing is done.")
        order(client, "microphone", b"OFF")
        order(client, "camera", b"OFF")
        await_state(client, microphone="OFF", camera="OFF")
        assert told == [("microphone", False), ("camera", False)]
        assert house.control.take() == Orders(
            say=("Das Essen ist fertig, höre ich.",), deliver=("The washing is done.",)
        )
        order(client, "stop", b"PRESS")
        order(client, "quiet", b"ON")
        await_state(client, quiet="ON")
        assert house.control.take() == Orders(stop=True, mode=Mode.QUIET)
        order(client, "quiet", b"OFF")
        await_state(client, quiet="OFF")
        assert house.control.mode is Mode.NORMAL


def test_the_volume_is_shown_and_set(broker: Broker) -> None:
    house, heard = House(broker, has_volume=True), list[float]()
    house.control.connect_loudspeaker(heard.append, 0.3)
    with Device(broker, patterns=ALL) as client, house.home:
        payload = json.loads(client.await_any(lambda: newest(client, CONFIG)))
        assert payload["components"]["volume"].items() >= {"min": 0, "max": 100}.items()
        await_state(client, volume=30)
        order(client, "volume", b"55")
        await_state(client, volume=55)
        order(client, "volume", b"0.0")
        await_state(client, volume=0)
    assert heard == [0.3, 0.55, 0.0]


def test_a_question_that_is_out_is_taken_back(broker: Broker) -> None:
    house = House(broker)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, STATE))
        order(client, "cancel", b"PRESS")
        wait_until(lambda: house.control.take() == Orders(cancel=True))


BAD = {
    "an unknown command": ("reboot", b"PRESS"),
    "a stop that is none": ("stop", b"press"),
    "a switch that is neither": ("microphone", b"MAYBE"),
    "no text": ("say", b" "),
    "too long a text": ("say", b"x" * 1001),
    "far too long a text": ("say", b"x" * 100_000),
    "no text at all": ("say", b"\xff\xfe"),
    "a switch that is not there": ("camera", b"OFF"),
    "a volume that is none": ("volume", b"loud"),
    "more than there is": ("volume", b"101"),
    "not a number": ("volume", b"nan"),
    "a volume of nothing": ("volume", b"50"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_command_is_counted_and_ignored(broker: Broker, case: str) -> None:
    house = House(broker)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, STATE))
        order(client, *BAD[case])
        wait_until(lambda: house.home.bad_commands == 1)
        assert house.control.take() == Orders()
        assert (house.control.camera_on, house.control.microphone_on) == (True, True)
        order(client, "quiet", b"ON")
        await_state(client, quiet="ON")


WHY = [
    (
        "quiet",
        b"on",
        "'quiet' was not obeyed: its payload must be ON or OFF; it is 'on'",
    ),
    ("stop", b"halt at once", "its payload must be PRESS; it is of 12 characters"),
    ("say", b"my secret", "The device is in mode quiet and says nothing: set the mode to normal"),
    ("say", b"secret \xff", "'say' was not obeyed: its payload of 8 bytes is not UTF-8"),
    ("say", b"secret" * 500_000, "its payload has 3000000 bytes, and at most 4000 are taken"),
    ("microphone", b"OFF", "This device has no microphone that can be switched"),
    (
        "bogus",
        b"OFF",
        "'bogus' was not obeyed: there is no such command, but there are camera,",
    ),
]


def test_each_command_that_is_not_obeyed_is_told_with_the_reason_and_not_what_was_to_be_said(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(broker)
    house.control.set_mode(Mode.QUIET)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, STATE))
        for again in (1, 2, 3):
            for name, payload, _ in WHY:
                order(client, name, payload)
            wait_until(lambda again=again: house.home.bad_commands == again * len(WHY))
        told = [text for text in caplog.messages if "was not obeyed" in text]
        assert len(told) == len(WHY), "each once a minute"
        for _, _, why in WHY:
            assert any(why in text for text in told), (why, told)
        order(client, "say", b"x" * 1001)
        order(client, "say", b"x" * 1002)
        wait_until(lambda: house.home.bad_commands == 3 * len(WHY) + 2)
    told = [text for text in caplog.messages if "was not obeyed" in text]
    assert sum("(2 times since it was last told)" in text for text in told) == len(WHY)
    assert sum("not 1001: shorten it" in text for text in told) == 1, "the same reason"
    assert "secret" not in caplog.text


def test_every_command_and_every_value_is_documented(broker: Broker, repository: Path) -> None:
    text = (repository / "docs" / "home-assistant.md").read_text(encoding="utf-8")
    for name, payloads in home_assistant.PAYLOADS.items():
        free = "0 to 100" if name == "volume" else "a text"
        given = ", ".join(f"`{payload}`" for payload in payloads) or free
        assert f"| `edge/<name>/home/{name}/set` | {given} |" in text
    house = House(broker, tell_heard=True, sees=True, has_volume=True)
    with Device(broker, patterns=ALL) as client, house.home:
        state = client.await_any(lambda: shown(client))
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    assert set(state) <= {key.strip(" `") for row in rows for key in row.split(",")}


def test_a_retained_command_is_not_obeyed_at_every_start(broker: Broker) -> None:
    house = House(broker)
    with Device(broker, patterns=ALL) as client:
        client._client.publish(
            "edge/kiosk/home/quiet/set", b"ON", qos=1, retain=True
        ).wait_for_publish(30)
        with house.home:
            client.await_any(lambda: newest(client, STATE))
            order(client, "say", b"hello")
            wait_until(lambda: any(house.control._texts.values()))
    assert house.control.take() == Orders(say=("hello",))


def test_what_is_said_next_is_shown_when_it_begins(broker: Broker) -> None:
    house = House(broker)
    first, part, announcement, late = (
        Utterance(f"utterance-{number}", f"Number {number}.", act, goes_on=act == "deliver")
        for number, act in enumerate(("tell", "deliver", "announce", "deliver"))
    )

    def says() -> str:
        """Once the state has come, which differs by its floor from the one before."""
        return str(await_state(client, floor=FLOORS[house.index % len(FLOORS)])["said"])

    def turn(said: Utterance | None = None, in_mouth: str | None = None) -> str:
        house.turn(said, floor=FLOORS[(house.index + 1) % len(FLOORS)], in_mouth=in_mouth)
        return says()

    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, CONFIG))
        assert turn(first) == first.text
        assert turn(part, in_mouth=first.id) == first.text
        assert turn(announcement, in_mouth=first.id) == first.text
        assert turn(in_mouth=part.id) == part.text
        assert turn(in_mouth=announcement.id) == announcement.text
        assert turn(late, in_mouth=announcement.id) == announcement.text
        assert turn() == announcement.text, "it was interrupted before"
        assert turn(in_mouth=late.id) == announcement.text


def test_it_introduces_itself_again_when_home_assistant_or_the_broker_comes_back(
    broker: Broker,
) -> None:
    house = House(broker)

    def introductions(client: Device) -> int:
        return sum(one.topic == CONFIG for one in client.messages)

    with Device(broker, patterns=ALL) as client, house.home:
        house.turn(said="It is noon.")
        client.await_any(lambda: introductions(client) >= 1 and shown(client))
        before = introductions(client)
        client.send("homeassistant/status", b"online")
        client.await_any(lambda: introductions(client) > before)
        client.send("homeassistant/status", b"offline")
        broker.restart()  # it has forgotten everything
        client.await_gone()
        client.messages.clear()
        client.await_ready()
        client.await_any(lambda: introductions(client) and newest(client, AVAILABILITY))
        await_state(client, said="It is noon.")


def test_health_and_its_reasons_are_shown_and_changes_are_not_a_flood(broker: Broker) -> None:
    house = House(broker)
    with Device(broker, patterns=ALL) as client, house.home:
        client.await_any(lambda: newest(client, STATE))
        house.health.report(CAMERA, State.DEGRADED, "no picture")
        house.turn()
        await_state(client, health="degraded", reasons=["camera: no picture"])
        before = len(client.messages)
        for floor in 10 * FLOORS:
            house.now_s -= 0.999  # all within 50 ms
            house.turn(floor=floor)
        house.turn(stop=True, floor="yield")
        await_state(client, floor="yield")
        assert len(client.messages) - before <= 2


def test_forgetting_leaves_nothing_on_the_broker(broker: Broker) -> None:
    house = House(broker)
    with house.home, Device(broker, patterns=ALL) as client:
        client.await_any(lambda: newest(client, CONFIG) and newest(client, STATE))
    forget(BrokerSettings(broker.url), "kiosk", "homeassistant")
    with Device(broker, "after", patterns=("#",)) as after:
        after.send("marker", b"last")
        after.await_any(lambda: newest(after, "marker"))
        assert [one.topic for one in after.messages] == ["marker"]


def test_forgetting_without_a_broker_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_assistant, "PATIENCE_S", 0.1)
    with pytest.raises(ConfigError, match="stays in Home Assistant"):
        forget(BrokerSettings(Broker(tmp_path).url), "kiosk", "homeassistant")


@pytest.mark.parametrize("name", ["a/b", "kiosk.3"])
def test_a_name_that_no_topic_can_bear_is_refused(broker: Broker, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"device\.name.*{name}.*letters, digits"):
        HomeAssistant(
            BrokerSettings(broker.url), HomeSettings(name), RemoteControl(), HealthMonitor()
        )


class Core:
    """A real Home Assistant in a process of its own."""

    def __init__(self, python: str, broker: Broker) -> None:
        program = Path(__file__).with_name("home_assistant_core.py")
        self._process = subprocess.Popen(
            [python, str(program), str(broker.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n", "is `homeassistant` installed there?"

    def __enter__(self) -> Core:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def do(self, *service: Any) -> dict[str, Any]:
        """Call a service, or none; returns all entities with their states, and the devices."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(service) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def await_all(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        wait_until(lambda: true(self.do()))
        return self.do()


@needs_home_assistant
def test_a_real_core_takes_the_device_and_its_commands_and_lets_it_go(broker: Broker) -> None:
    house = House(broker, tell_heard=True, actions=("wave", "lamp_on"), has_volume=True)
    house.control.connect(microphone=lambda on: None, camera=lambda on: None)
    house.control.connect_loudspeaker(lambda volume: None, 0.3)
    with Core(os.environ["HOME_ASSISTANT_PYTHON"], broker) as core:
        with house.home:
            wait_until(lambda: house.home._connection.connected)
            house.turn(said="It is noon.", floor="speak", heard="hello")
            found = core.await_all(lambda all: "It is noon." in all["entities"].values())
            assert found["devices"] == ["kiosk"]
            assert found["entities"] == {
                "binary_sensor.kiosk_background_model": "on",
                "binary_sensor.kiosk_somebody_talks_to_it": "on",
                "button.kiosk_stop": "unknown",
                "button.kiosk_take_the_question_back": "unknown",
                "event.kiosk_action": "unknown",
                "notify.kiosk_tell_when_it_fits": "unknown",
                "number.kiosk_volume": "30",
                "sensor.kiosk_direction_of_sound": "30",
                "sensor.kiosk_health": "ok",
                "sensor.kiosk_heard": "hello",
                "sensor.kiosk_last_utterance": "It is noon.",
                "sensor.kiosk_state": "speak",
                "switch.kiosk_camera": "on",
                "switch.kiosk_microphone": "on",
                "switch.kiosk_mute": "off",
                "text.kiosk_say": "unknown",
            }
            house.turn(asked=("lamp_on",))
            core.await_all(lambda all: all["entities"]["event.kiosk_action"] == "lamp_on")
            core.do("text", "set_value", {"entity_id": "text.kiosk_say", "value": "Dinner."})
            core.do(
                "notify",
                "send_message",
                {"entity_id": "notify.kiosk_tell_when_it_fits", "message": "Washing."},
            )
            wait_until(lambda: all(house.control._texts.values()))
            assert house.control.take() == Orders(say=("Dinner.",), deliver=("Washing.",))
            volume = {"entity_id": "number.kiosk_volume", "value": 45}
            core.do("number", "set_value", volume)
            wait_until(lambda: house.control.volume == 0.45)
            core.do("button", "press", {"entity_id": "button.kiosk_stop"})
            core.do("switch", "turn_off", {"entity_id": "switch.kiosk_microphone"})
            core.do("switch", "turn_on", {"entity_id": "switch.kiosk_mute"})
            core.await_all(
                lambda all: (
                    all["entities"]["switch.kiosk_mute"] == "on"
                    and all["entities"]["switch.kiosk_microphone"] == "off"
                )
            )
            assert house.control.take() == Orders(stop=True, mode=Mode.QUIET)
            assert not house.control.microphone_on
        core.await_all(lambda all: set(all["entities"].values()) == {"unavailable"})
        forget(BrokerSettings(broker.url), "kiosk", "homeassistant")
        core.await_all(lambda all: all == {"entities": {}, "devices": []})


@needs_home_assistant
def test_a_real_core_loses_what_is_not_shown_any_more_and_keeps_the_rest(broker: Broker) -> None:
    before, again = (House(broker, tell_heard=True, sees=True, actions=("wave",)) for _ in range(2))
    after = House(broker, tell_said=False, has_microphone=False, has_camera=False)
    optional = {
        *("binary_sensor.kiosk_somebody_is_there", "sensor.kiosk_last_utterance"),
        *("sensor.kiosk_heard", "event.kiosk_action"),
        *("switch.kiosk_microphone", "switch.kiosk_camera"),
    }
    with (
        Core(os.environ["HOME_ASSISTANT_PYTHON"], broker) as core,
        Device(broker, patterns=ALL) as client,
    ):
        with before.home:
            wait_until(lambda: before.home._connection.connected)
            before.turn(said="It is noon.", heard="my secret")
            all = core.await_all(lambda all: "my secret" in all["entities"].values())
            assert optional < all["entities"].keys()
        with after.home:
            left = all["entities"].keys() - optional
            all = core.await_all(lambda all: all["entities"].keys() == left)
            assert all["devices"] == ["kiosk"]
            assert newest(client, CONFIG), "it is retained for the next start of Home Assistant"
        with again.home:
            core.await_all(lambda all: optional < all["entities"].keys())
