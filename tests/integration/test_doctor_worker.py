"""`edge-runtime doctor --background`: each part of a worker is really asked."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from broker import free_port, needs_mosquitto, running_broker
from chat_server import Call, ChatServer, Piece, Refusal
from mcp_house import HOUSE
from program import edge, written

from edge_runtime.background.worker_config import WorkerConfig
from edge_runtime.doctor import worker
from edge_runtime.doctor.finding import Finding, Verdict

pytest.importorskip("pydantic_ai", reason="the agent is an extra: edge-runtime[agent]")
WORKS: tuple[list[Piece], ...] = ([Call("doctor_check")], ["It works."])


def config(server: ChatServer, **agent: Any) -> WorkerConfig:
    return WorkerConfig.model_validate(
        {"agent": {"model": "scripted", "base_url": server.url, **agent}}
    )


def model(*turns: list[Piece], **agent: Any) -> Finding:
    with ChatServer(*turns) as server:
        (finding,) = worker.model(config(server, **agent))
    return finding


def test_a_model_that_answers_and_calls_tools() -> None:
    finding = model(*WORKS)
    assert finding.verdict is Verdict.OK
    assert finding.text.startswith("scripted answers after") and "calls tools" in finding.text


def test_a_model_that_calls_no_tool() -> None:
    finding = model(["It works."])
    assert finding.verdict is Verdict.WARNING
    assert "agent.tools: false" in finding.remedy
    assert model(["It works."], tools=False).verdict is Verdict.OK


def test_a_model_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SLOW_S", 0.5)
    pause = threading.Event()
    threading.Timer(1.5, pause.set).start()
    finding = model([Call("doctor_check")], [pause, "It works."])
    assert finding.verdict is Verdict.WARNING and "waits for so long" in finding.text


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Refusal(404), "scripted is not known at this address"),
        (Refusal(401), "it refused the key"),
        (
            Refusal(400, json.dumps({"error": {"message": "scripted does not support tools"}})),
            "agent.tools: false",
        ),
    ],
)
def test_a_model_that_refuses(refusal: Refusal, why: str) -> None:
    finding = model([refusal])
    assert finding.verdict is Verdict.FAILED and why in finding.text


def test_a_server_that_is_not_there() -> None:
    with ChatServer() as server:
        pass
    (finding,) = worker.model(config(server))
    assert finding.verdict is Verdict.FAILED
    assert "the model cannot be reached" in finding.text and server.url in finding.remedy


def test_the_servers_of_tools(tmp_path: Path) -> None:
    (tmp_path / "house.py").write_text(HOUSE)
    house = {"command": sys.executable, "args": [str(tmp_path / "house.py")]}
    gone = {"command": "no-such-program"}
    with ChatServer() as server:
        found = worker.tools(config(server, mcp_servers={"house": house, "gone": gone}))
    assert [one.verdict for one in found] == [Verdict.OK, Verdict.FAILED]
    assert found[0].text.startswith("house: ") and found[0].values["tools"]
    assert "gone cannot be reached" in found[1].text and "mcp_servers.gone" in found[1].remedy


def test_the_recogniser() -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    (finding,) = worker.recogniser(WorkerConfig())
    assert finding.verdict is Verdict.OK and "pocketsphinx takes" in finding.text
    hears = {"agent": {"model": "openai:x", "sound": True}}
    (finding,) = worker.recogniser(WorkerConfig.model_validate(hears))
    assert finding.verdict is Verdict.ABSENT


@needs_mosquitto
def test_as_a_program(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, ChatServer(*WORKS) as server:
        text = (
            f"delegation: {{broker: '{broker.url}'}}\n"
            f"agent: {{model: scripted, base_url: '{server.url}'}}\n"
        )
        path = written(tmp_path / "worker.yaml", text)
        run = edge("doctor", "--background", "--config", path, "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stdout
    found = {one["name"]: one for one in json.loads(run.stdout)["findings"]}
    assert found.keys() == {"broker", "recogniser", "model"}
    assert "edge/+/requests" in found["broker"]["text"]
    assert {one["verdict"] for one in found.values()} == {"ok"}


def test_what_has_failed_is_an_exit_status(tmp_path: Path) -> None:
    text = f"delegation: {{broker: 'mqtt://127.0.0.1:{free_port()}'}}"
    path = written(tmp_path / "worker.yaml", text)
    run = edge("doctor", "--background", "--config", path, cwd=tmp_path)
    assert run.returncode == 1
    assert "no connection to 127.0.0.1" in run.stdout and "the offline skills" in run.stdout
