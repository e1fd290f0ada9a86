"""The agent with real MCP servers: a program on pipes, and one that is reached by an address."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_server import Call, ChatServer, Refusal
from mcp_house import HOUSE, ORDERS, ROUGH_HOUSE
from test_agent import PROGRESS, RESULT, SILENCE, WAVE, Replies, answered, request

from edge_runtime.background.agent import AgentAnswerer
from edge_runtime.background.agent_config import AgentConfig, McpServer
from edge_runtime.delegation.wire import ReplyKind

pytest.importorskip("pydantic_ai", reason="the agent is an extra: edge-runtime[agent]")
pytest.importorskip("mcp", reason="the agent is an extra: edge-runtime[agent]")


@pytest.fixture
def program(tmp_path: Path) -> McpServer:
    path = tmp_path / "house.py"
    path.write_text(HOUSE)
    return McpServer(
        command=sys.executable, args=[str(path)], env={"WALL_COLOUR": "blue"}, start_timeout_s=60.0
    )


def rough(*arguments: str, **more: Any) -> McpServer:
    command = {"command": sys.executable, "args": ["-c", ROUGH_HOUSE, *arguments]}
    return McpServer.model_validate({**command, "start_timeout_s": 60.0, **more})


def config(server: ChatServer, house: McpServer) -> AgentConfig:
    return AgentConfig(model="scripted", base_url=server.url, mcp_servers={"house": house})


def ask(house: McpServer, name: str, arguments: str = "{}") -> tuple[list[object], ChatServer]:
    """The model calls one of the house's tools and then says `Done.`"""
    turns = [Call(f"house_{name}", arguments)], ["Done."]
    with ChatServer(*turns) as server, AgentAnswerer(config(server, house)) as agent:
        return [*answered(agent)], server


def test_a_tool_of_an_mcp_program_is_called(program: McpServer) -> None:
    told, server = ask(program, "warmest_room", json.dumps({"floor": 2}))
    assert told == [(PROGRESS, "using house_warmest_room"), (RESULT, "Done.")]
    assert server.said_by("tool") == ["the kitchen on floor 2"]


def test_a_tool_of_an_mcp_server_at_an_address_is_called(tmp_path: Path) -> None:
    (tmp_path / "house.py").write_text(HOUSE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running(tmp_path / "house.py", port):
        house = McpServer(url=f"http://127.0.0.1:{port}/mcp", start_timeout_s=60.0)
        told, server = ask(house, "warmest_room", json.dumps({"floor": 1}))
    assert told == [(PROGRESS, "using house_warmest_room"), (RESULT, "Done.")]
    assert server.said_by("tool") == ["the kitchen on floor 1"]


@contextmanager
def running(script: Path, port: int) -> Iterator[None]:
    """The server as a process, once it says that it listens."""
    command = [sys.executable, str(script), str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert any("Uvicorn running" in line for line in process.stderr)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield
    finally:
        process.kill()
        process.wait()


def test_orders_in_a_tools_result_reach_the_model_as_data_only(program: McpServer) -> None:
    _, server = ask(program, "notes")
    assert server.said_by("tool") == [ORDERS]
    assert server.said_by("system", 0) == server.said_by("system", 1)
    others = [*server.said_by("system"), *server.said_by("user"), *server.said_by("assistant")]
    assert ORDERS not in " ".join(others)


def test_what_a_server_says_about_itself_is_no_instruction(program: McpServer) -> None:
    _, server = ask(program, "notes")
    assert "Obey the house" not in json.dumps(server.bodies)


def test_a_tool_that_fails_is_told_to_the_model(program: McpServer) -> None:
    told, server = ask(program, "broken")
    assert told[-1] == (RESULT, "Done.")
    assert server.said_by("tool")[0].startswith("The tool failed: ")


def test_a_program_gets_its_environment(program: McpServer) -> None:
    _, server = ask(program, "wall_colour")
    assert server.said_by("tool") == ["blue"]


def test_a_program_keeps_running_between_requests_and_ends_with_the_agent(
    program: McpServer,
) -> None:
    turns = [[Call("house_process")], ["One."]] * 2
    with ChatServer(*turns) as server, AgentAnswerer(config(server, program)) as agent:
        answered(agent)
        first = int(server.said_by("tool")[0])
        answered(agent)
        assert int(server.said_by("tool")[0]) == first
        os.kill(first, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_cancel_while_a_tool_works_leaves_the_program_usable(program: McpServer) -> None:
    turns = [Call("house_endless")], [Call("house_wall_colour")], ["Done."]
    cancelled = threading.Event()
    replies = Replies(on=PROGRESS, do=cancelled.set)
    with ChatServer(*turns) as server, AgentAnswerer(config(server, program)) as agent:
        agent.answer(request(), SILENCE, cancelled, replies)
        told = answered(agent)
        assert server.said_by("tool") == ["blue"]
    assert replies.all == [(PROGRESS, "using house_endless")]
    assert told[-1] == (RESULT, "Done.")


def test_a_server_at_an_address_gets_its_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("let-me-in")
    refusals = [[Refusal(500)] for _ in range(20)]
    with ChatServer(["Hello."]) as server, ChatServer(*refusals) as house:
        address = McpServer(url=f"{house.url}/mcp", token_file=tmp_path / "token")
        with AgentAnswerer(config(server, address)) as agent:
            assert answered(agent) == [(RESULT, "Hello.")]
        assert house.keys[0] == "Bearer let-me-in"


@pytest.mark.parametrize("status", [401, 404])
def test_keys_in_addresses_do_not_get_into_the_log(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refusals = [[Refusal(status)] for _ in range(20)]
    with ChatServer(["Hello."]) as server, ChatServer(*refusals) as house:
        address = McpServer(url=f"{house.url}/mcp?sig=open-sesame")
        model = AgentConfig(
            model="scripted",
            base_url=f"{server.url}?key=open-sesame",
            mcp_servers={"house": address},
        )
        with AgentAnswerer(model) as agent:
            assert answered(agent) == [(RESULT, "Hello.")]
    assert house.keys and "is left out" in caplog.text
    assert "open-sesame" not in caplog.text


def test_what_a_server_says_beside_its_results_does_not_get_into_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    _, server = ask(rough(), "note", json.dumps({"text": "open sesame"}))
    assert server.said_by("tool") == ["open sesame"]
    assert "sesame" not in caplog.text + capfd.readouterr().err


def noted(content: list[dict[str, Any]], pictures: bool = False) -> ChatServer:
    """What is asked of the model after a tool has given it this."""
    house = rough(env={"CONTENT": json.dumps(content)})
    with ChatServer([Call("house_note")], ["Done."]) as server:
        model = config(server, house).model_copy(update={"pictures": pictures})
        with AgentAnswerer(model) as agent:
            assert answered(agent)[-1] == (RESULT, "Done.")
    return server


@pytest.mark.parametrize("text", ["x" * 100_000, json.dumps({"rooms": ["x" * 100_000]})])
def test_a_long_result_is_cut_also_where_it_is_json(text: str) -> None:
    (told,) = noted([{"type": "text", "text": text}]).said_by("tool")
    assert len(told) < 20_100 and told.endswith("... (cut)")


def test_a_short_result_reaches_the_model_as_it_is() -> None:
    (told,) = noted([{"type": "text", "text": '{"rooms": ["hall"]}'}]).said_by("tool")
    assert json.loads(told) == {"rooms": ["hall"]}


@pytest.mark.parametrize("pictures", [False, True])
def test_a_tools_picture_is_for_a_model_that_sees(pictures: bool) -> None:
    picture = {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}
    server = noted([{"type": "text", "text": "the hall"}, picture], pictures)
    assert "the hall" in server.said_by("tool")[0]
    assert ("iVBORw0KGgo=" in json.dumps(server.bodies)) == pictures


def test_a_program_that_died_is_started_again(program: McpServer) -> None:
    turns = [[Call("house_process")], ["One."]] * 2
    with ChatServer(*turns) as server, AgentAnswerer(config(server, program)) as agent:
        answered(agent)
        first = int(server.said_by("tool")[0])
        os.kill(first, 9)
        told = answered(agent)
        assert told[-1] == (RESULT, "One.")
        assert int(server.said_by("tool")[0]) != first


@pytest.mark.parametrize(
    "missing",
    [
        lambda path: McpServer(command=str(path / "no-such-program")),
        lambda path: McpServer(command=sys.executable, args=["-c", "pass"]),
        lambda path: McpServer(url="http://127.0.0.1:9/mcp"),
    ],
    ids=["no such program", "ends at once", "nothing at the address"],
)
def test_an_answer_does_not_wait_for_a_server_that_is_not_there(
    missing: Callable[[Path], McpServer], tmp_path: Path
) -> None:
    turns = [Call("wave")], ["Hello."]
    with ChatServer(*turns) as server, AgentAnswerer(config(server, missing(tmp_path))) as agent:
        told = answered(agent, actions=(WAVE,))
    assert told == [(ReplyKind.ACTION, "wave"), (RESULT, "Hello.")]


@pytest.mark.parametrize("fault", ["deaf", "mute"])
@pytest.mark.parametrize(("start_timeout_s", "deadline_s"), [(0.5, 30.0), (60.0, 3.0)])
def test_a_server_that_does_not_answer_costs_no_answer(
    fault: str, start_timeout_s: float, deadline_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    silent = rough(fault, start_timeout_s=start_timeout_s)
    with (
        ChatServer(["Hello."], ["Hello."]) as server,
        AgentAnswerer(config(server, silent)) as agent,
    ):
        for _ in range(2):
            assert answered(agent, deadline_s=deadline_s) == [(RESULT, "Hello.")]
    assert "the MCP server house is left out for 30 s: " in caplog.text
