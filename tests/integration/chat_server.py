"""A language model on this machine: OpenAI's streaming chat completions, with answers by script."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeAlias

WAIT_S = 30.0
"""Longer than anything takes: only a test that fails waits so long."""


@dataclass(frozen=True)
class Call:
    """The model calls a tool."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True)
class Refusal:
    status: int
    body: str = "{}"


@dataclass(frozen=True)
class Cut:
    """The model has written as many tokens as it may."""


Piece: TypeAlias = str | Call | Refusal | Cut | threading.Event | threading.Barrier
"""A piece of text, or something to wait for before going on."""


class ChatServer:
    """Each request gets the next turn of the script."""

    def __init__(self, *turns: Sequence[Piece]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.hung_up = threading.Event()
        """The client has closed the connection while the answer was stalled."""
        self._turns = list(turns)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tools(self, request: int = 0) -> list[str]:
        """The names of the tools the model was offered."""
        return [tool["function"]["name"] for tool in self.bodies[request].get("tools", [])]

    def said_by(self, role: str, request: int = -1) -> list[str]:
        """What stood in the messages of this role."""
        messages = self.bodies[request]["messages"]
        return [str(message["content"]) for message in messages if message["role"] == role]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                script.bodies.append(json.loads(self.rfile.read(length)))
                script.keys.append(self.headers.get("Authorization", ""))
                turn = script._turns.pop(0)
                if turn and isinstance(turn[0], Refusal):
                    return self.refuse(turn[0])
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                try:
                    self.stream(turn)
                except (BrokenPipeError, ConnectionResetError):
                    script.hung_up.set()

            def refuse(self, refusal: Refusal) -> None:
                body = refusal.body.encode()
                self.send_response(refusal.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("x-should-retry", "false")
                self.end_headers()
                self.wfile.write(body)

            def stream(self, turn: Sequence[Piece]) -> None:
                calls = 0
                for piece in turn:
                    if isinstance(piece, str):
                        self.chunk({"role": "assistant", "content": piece})
                    elif isinstance(piece, Call):
                        function = {"name": piece.name, "arguments": piece.arguments}
                        call = {"index": calls, "id": f"call-{calls}", "type": "function"}
                        self.chunk({"tool_calls": [{**call, "function": function}]})
                        calls += 1
                    elif isinstance(piece, threading.Barrier):
                        piece.wait(WAIT_S)
                    elif isinstance(piece, threading.Event):
                        self.wait_for(piece)
                ended = "length" if any(isinstance(piece, Cut) for piece in turn) else "stop"
                self.chunk({}, "tool_calls" if calls else ended)
                self.wfile.write(b"data: [DONE]\n\n")

            def wait_for(self, event: threading.Event) -> None:
                """Comments keep the stream open, and show when no one listens any more."""
                for _ in range(int(WAIT_S / 0.05)):
                    if event.wait(0.05):
                        return
                    self.wfile.write(b": still thinking\n\n")
                    self.wfile.flush()

            def chunk(self, delta: dict[str, Any], finish: str | None = None) -> None:
                data = {
                    "id": "1",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": "scripted",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
                }
                self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
