"""Answers requests with a language model and tools; speaks while the model is still writing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import re
import threading
import time
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from edge_runtime.background.agent_config import AgentConfig
from edge_runtime.background.agent_message import message, picture, sound
from edge_runtime.background.agent_model import another_may_answer, build, reason
from edge_runtime.background.agent_tools import McpServers, own_tools
from edge_runtime.background.answerer import Ears, Reply, local_time
from edge_runtime.background.transcribe import Transcript
from edge_runtime.delegation.wire import ReplyKind, RequestMessage
from edge_runtime.errors import BackgroundError, ConfigError, EdgeRuntimeError, NotNowError
from edge_runtime.micro_turn import Pcm
from edge_runtime.sentences import Sentences

if TYPE_CHECKING:
    from pydantic_ai import Agent

log = logging.getLogger(__name__)
POLL_S = 0.1
"""How soon a cancel is noticed."""
KEPT_DEADLINE_S = 300.0
"""For a request that is worth answering however late."""
LIBRARIES = {
    **dict.fromkeys(("httpx", "httpx2", "httpcore", "openai"), logging.WARNING),
    **dict.fromkeys(("mcp", "fastmcp"), logging.CRITICAL),
}
"""The former log each request with its whole address, and keys stand in addresses; the latter, also
as errors, what they cannot read of a server of tools, which may be what a person said."""


@dataclass(frozen=True)
class _Step:
    """What the model's thread tells the one that answers."""

    kind: ReplyKind
    text: str = ""
    action: str | None = None
    begins: bool = False
    """With PARTIAL: the model begins another text."""


class AgentAnswerer:
    """A language model behind an event loop in a thread of its own.

    Several requests can be answered at once, each from a thread of the caller's. Replies come
    from the caller's thread, and none after `answer` has returned.
    """

    def __init__(self, config: AgentConfig, ears: Ears | None = None) -> None:
        self._config, self._ears = config, ears
        self._starting = threading.Lock()
        self._servers = McpServers(config.mcp_servers, config.pictures)
        self._agent: Agent[object, str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> Self:
        self.load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def load(self) -> None:
        """Prepare the model, the recogniser and the tools. Raises BackgroundError, ConfigError."""
        with self._starting:
            if self._loop is not None:
                return
            if self._closed:
                raise BackgroundError("the agent was closed")
            if self._ears is not None:
                self._ears.load()
            try:
                self._agent = build(self._config)
                self._servers.load()
                _quieten_libraries()
            except EdgeRuntimeError:
                raise
            except ImportError as error:
                raise BackgroundError(
                    "A part of the agent is missing: pip install 'edge-runtime[agent]', and "
                    f"for other providers what this says: {error}"
                ) from error
            except Exception as error:  # Whatever a provider's constructor finds wrong.
                raise ConfigError(f"The model cannot be set up: {self._clean(error)}") from None
            started: concurrent.futures.Future[None] = concurrent.futures.Future()
            self._thread = threading.Thread(
                target=self._work, args=(started,), name="agent", daemon=True
            )
            self._thread.start()
            started.result()

    def close(self) -> None:
        """Stop what is running and the MCP servers, for good."""
        with self._starting:
            self._closed = True
            loop, self._loop = self._loop, None
            if loop is None or self._thread is None:
                return
            with contextlib.suppress(RuntimeError):  # It may have ended by itself.
                loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=10)

    def answer(
        self, request: RequestMessage, pcm: Pcm, cancelled: threading.Event, reply: Reply
    ) -> None:
        """Reply until the answer is complete, has failed or is cancelled. Raises NotNowError where
        the model cannot be reached, and nothing was said or done."""
        allowed_s = max(request.deadline_s, KEPT_DEADLINE_S if request.keep else 0.0)
        deadline_s = time.monotonic() + allowed_s
        steps: queue.Queue[_Step | None] = queue.Queue()
        try:
            self.load()
            heard = self._hear(request, pcm)
            loop = self._loop
            if loop is None:
                raise BackgroundError("the agent is stopping")
            if cancelled.is_set():
                return
            said = self._told(request, heard, pcm)
            run = self._run(request, said, steps.put, deadline_s)
            work = asyncio.run_coroutine_threadsafe(run, loop)
        except Exception as error:
            log.warning("request %s cannot be answered: %s", request.id, self._clean(error))
            reply(ReplyKind.FAILED, "the agent is not ready")
            return
        work.add_done_callback(lambda _: steps.put(None))
        done = {action.name: action.answer for action in request.actions}
        telling = _Telling(reply, self._config.max_answer_chars, done)
        try:
            while not cancelled.is_set():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    telling.fail("no answer before the deadline")
                    return
                with contextlib.suppress(queue.Empty):
                    step = steps.get(timeout=min(POLL_S, left_s))
                    if step is None:
                        self._end(request, work, telling)
                        return
                    before = telling.left
                    if not telling.tell(step):
                        return
                    if telling.left < before:
                        deadline_s = max(deadline_s, time.monotonic() + allowed_s)
        finally:
            work.cancel()

    def _end(
        self, request: RequestMessage, work: concurrent.futures.Future[bool], telling: _Telling
    ) -> None:
        error = concurrent.futures.CancelledError() if work.cancelled() else work.exception()
        if error is None:
            telling.end(complete=work.result())
            return
        why = reason(error, self._config.model)
        log.warning("request %s failed: %s", request.id, why)
        # Providers quote what they were asked.
        log.debug("request %s failed: %s", request.id, self._clean(error))
        if another_may_answer(error) and not telling.begun:
            raise NotNowError(why)
        telling.fail(why)

    def _hear(self, request: RequestMessage, pcm: Pcm) -> Transcript | None:
        if self._ears is None or len(pcm) == 0:
            return None
        try:
            return self._ears.hear_question(request, pcm)
        except Exception:
            log.warning("request %s could not be transcribed", request.id, exc_info=True)
            return None

    def _work(self, started: concurrent.futures.Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        except Exception as error:
            self._loop = None
            if started.done():
                log.error("the agent has stopped: %s", self._clean(error))
            else:
                started.set_exception(BackgroundError(f"no agent: {self._clean(error)}"))

    async def _serve(self, started: concurrent.futures.Future[None]) -> None:
        assert self._agent is not None
        self._stop = asyncio.Event()
        async with self._agent:  # Keeps the connection to the model open between requests.
            self._loop = asyncio.get_running_loop()
            started.set_result(None)
            warming = asyncio.create_task(self._servers.warm_up())
            await self._stop.wait()
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)
            await self._servers.close()

    def _told(self, request: RequestMessage, heard: Transcript | None, pcm: Pcm) -> Any:
        """What the model is given: text, and what it can see or hear."""
        from pydantic_ai.messages import BinaryContent

        hears = self._config.sound and len(pcm) > 0
        said: list[Any] = [message(request, heard, hears)]
        if hears:
            said.append(BinaryContent(sound(pcm), media_type="audio/wav"))
        if self._config.pictures and (seen := picture(request)):
            said.append(BinaryContent(seen, media_type="image/jpeg"))
        return said if len(said) > 1 else said[0]  # Small servers take a plain text only.

    async def _run(
        self, request: RequestMessage, said: Any, put: Callable[[_Step], None], deadline_s: float
    ) -> bool:
        """Whether the model has written all that it wanted to."""
        from pydantic_ai import messages
        from pydantic_ai.usage import UsageLimits

        assert self._agent is not None
        actions = {action.name for action in request.actions}

        async def listen(_: Any, events: AsyncIterable[Any]) -> None:
            async for event in events:
                if isinstance(event, messages.PartStartEvent):
                    if isinstance(event.part, messages.TextPart):
                        put(_Step(ReplyKind.PARTIAL, f"\n{event.part.content}", begins=True))
                elif isinstance(event, messages.PartDeltaEvent):
                    if isinstance(event.delta, messages.TextPartDelta):
                        put(_Step(ReplyKind.PARTIAL, event.delta.content_delta))
                elif isinstance(event, messages.FunctionToolCallEvent):
                    put(_Step(ReplyKind.PARTIAL, "\n"))
                    if event.part.tool_name not in actions:
                        put(_Step(ReplyKind.PROGRESS, f"using {event.part.tool_name}"))

        limit = self._config.max_tool_calls
        async with AsyncExitStack() as stack:
            own = own_tools(
                request.actions,
                lambda: local_time(request.local_time),
                lambda name: put(_Step(ReplyKind.ACTION, "", name)),
                lambda said: put(_Step(ReplyKind.YOURS, said)),
            )
            tools = [own, *await self._servers.connect(stack, deadline_s)]
            result = await self._agent.run(
                said,
                toolsets=tools if self._config.tools else [],
                usage_limits=UsageLimits(request_limit=limit + 3, tool_calls_limit=limit),
                event_stream_handler=listen,
            )
            return result.response.finish_reason != "length"

    def _clean(self, error: BaseException) -> str:
        """For the log: short, and without a key or anything that looks like one."""
        text = f"{type(error).__name__}: {error}"
        with contextlib.suppress(ConfigError):
            text = text.replace(self._config.api_key() or "\0", "[key]")
        return re.sub(r"[\w*.+/=-]{24,}", "[...]", " ".join(text.split()))[:300]


def _quieten_libraries() -> None:
    """Once they are loaded: fastmcp sets its own level then."""
    for name, level in LIBRARIES.items():
        logging.getLogger(name).setLevel(level)


class _Telling:
    """Turns the model's steps into replies, up to a length. `done` is what is said of an action
    where the model says nothing of it."""

    def __init__(self, reply: Reply, max_chars: int, done: Mapping[str, str]) -> None:
        self._reply, self._done = reply, done
        self.left, self._said = max_chars, False
        self._acted: dict[str, None] = {}
        self._sentences, self._thoughts = Sentences(), Thoughts()

    @property
    def begun(self) -> bool:
        """Something was said or done."""
        return self._said or bool(self._acted)

    def tell(self, step: _Step) -> bool:
        """Whether more may follow."""
        if step.kind is not ReplyKind.PARTIAL:
            if step.action is not None:
                self._acted[step.action] = None
            self._reply(step.kind, step.text, step.action)
            return step.kind is not ReplyKind.YOURS
        if step.begins:
            self._thoughts = Thoughts()
        for sentence in self._sentences.feed(self._thoughts.without(step.text)):
            if not self._fits(sentence):
                return False
            self._reply(ReplyKind.PARTIAL, sentence)
        return True

    def end(self, complete: bool) -> None:
        """A sentence that the model could not finish is left out, unless it is all there is."""
        rest = self._sentences.flush()
        if self._said and not complete:
            rest = ""
        if not rest and not self._said:
            rest = self._of_actions()
        if self._fits(rest):
            self._reply(ReplyKind.RESULT, rest)

    def fail(self, why: str) -> None:
        """What was done is done, and is told, whatever has failed since."""
        if self._acted and not self._said:
            self._reply(ReplyKind.RESULT, self._of_actions())
        else:
            self._reply(ReplyKind.FAILED, why)

    def _of_actions(self) -> str:
        return " ".join(dict.fromkeys(self._done.get(name, "") for name in self._acted)).strip()

    def _fits(self, sentence: str) -> bool:
        """If not, the answer ends here: with what fits, if it would be empty otherwise."""
        if len(sentence) <= self.left:
            self.left -= len(sentence)
            self._said = self._said or bool(sentence)
            return True
        start = "" if self._said else sentence[: self.left].rpartition(" ")[0]
        self._reply(ReplyKind.RESULT, start)
        return False


class Thoughts:
    """What a model thinks aloud at the beginning of a text, in the tags of most that do: it is not
    for the person. Providers know the tags only where each is a piece of its own."""

    OPEN, CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._rest, self._thinks = "", True

    def without(self, text: str) -> str:
        """Of the text that has come, what is said."""
        if not self._thinks:
            return text
        self._rest += text
        begun = self._rest.lstrip()
        if begun.startswith(self.OPEN):
            _, closed, after = begun.partition(self.CLOSE)
            if not closed:
                return ""
            self._thinks = False
            return f"\n{after}"
        if self.OPEN.startswith(begun):
            return ""
        self._thinks = False
        return self._rest
