"""What the language model may call: the offline skills, the device's actions, MCP servers."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_runtime.background import arithmetic, calendar, units
from edge_runtime.background.agent_config import McpServer
from edge_runtime.background.skills import MAX_CHARS, plain
from edge_runtime.background.timers import WHEN, Timers
from edge_runtime.background.volume import UNSET
from edge_runtime.delegation.wire import Ability

if TYPE_CHECKING:
    from pydantic_ai import Tool
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.toolsets import AbstractToolset

log = logging.getLogger(__name__)
MAX_RESULT_CHARS = 20_000
"""A longer text from an MCP server is cut, JSON too."""
RETRY_S = 30.0
"""So long a server that could not be reached is left out: each try may keep a person waiting."""
SHARE = 0.5
"""A server may take as much of the time that is left, so that an answer is given without it."""

SKILLS: Mapping[str, tuple[str, str]] = {
    "calculate": (
        "The exact result of a sum in plain words or signs: add, subtract, multiply, divide, "
        "powers, percent of, brackets.",
        "three hundred and five minus 9 * 2",
    ),
    "convert_units": (
        "An exact conversion between units of length, mass, volume, speed, temperature or time.",
        "3.5 miles in kilometres",
    ),
    "date_and_time": (
        "The time or the date where the person is.",
        "what time is it; what day is it; what date is tomorrow; what date is friday",
    ),
}
"""Name, what it is good for, examples of what to ask."""
TIMER = "timer_or_reminder"
TIMER_FOR = (
    "Sets, tells or cancels a timer or reminder of the device. The device then answers the person "
    "by itself: say nothing more.",
    "set a timer for ten minutes; remind me in two hours to call my mother; wake me up tomorrow at "
    "half past seven; remind me on friday at nine to water the plants; how much time is left; "
    "cancel the timer",
)
VOLUME = "loudspeaker_volume"
VOLUME_FOR = (
    "Makes the device's voice louder or quieter, or sets or tells its volume. The device then "
    "answers the person by itself: say nothing more.",
    "louder; a bit quieter; set the volume to fifty percent; what is the volume",
)
TIMER_NEEDS_A_TIME = (
    "It needs a time of day, or how long from now, within seven days, like this: remind me on "
    "friday at nine in the morning to call my mother"
)


def own_tools(
    actions: Sequence[Ability],
    now: Callable[[], datetime],
    act: Callable[[str], None],
    leave: Callable[[str], None],
) -> AbstractToolset[object]:
    """The skills and the device's actions. `act` takes the name of an action that was called,
    `leave` a sentence that the device's own skills shall answer."""
    from pydantic_ai.toolsets import FunctionToolset

    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    tools = {
        name: _tool(_skill(name, now), name, what, _question(example))
        for name, (what, example) in SKILLS.items()
    }
    tools[TIMER] = _tool(_timer(leave, now), TIMER, TIMER_FOR[0], _question(TIMER_FOR[1]))
    tools[VOLUME] = _tool(_volume(leave), VOLUME, VOLUME_FOR[0], _question(VOLUME_FOR[1]))
    for action in actions:
        what = action.description or action.name.replace("_", " ")
        tools[action.name] = _tool(
            _action(action.name, act), action.name, f"The device does this: {what}", nothing
        )
    return FunctionToolset(list(tools.values()))


def _tool(
    function: Callable[..., Awaitable[str]], name: str, what: str, parameters: dict[str, Any]
) -> Tool[object]:
    """A tool that takes whatever a model calls it with: small ones do not keep to a schema, and
    that must not end the answer."""
    from pydantic_ai import Tool
    from pydantic_core import SchemaValidator, core_schema

    tool: Tool[object] = Tool.from_schema(function, name, what, parameters)
    as_given = core_schema.no_info_plain_validator_function(_arguments)
    tool.function_schema.validator = SchemaValidator(as_given)
    return tool


def _arguments(given: Any) -> dict[str, Any]:
    return given if isinstance(given, dict) else {"question": given}


def _question(example: str) -> dict[str, Any]:
    text = {"type": "string", "maxLength": MAX_CHARS, "description": f"In English, like: {example}"}
    return {"type": "object", "properties": {"question": text}, "required": ["question"]}


def _asked(given: Mapping[str, Any]) -> str:
    """The question in a call's arguments: small models name them as they like."""
    texts = [value for value in given.values() if isinstance(value, (str, int, float))]
    return str(given.get("question") or (texts[0] if texts else ""))[:MAX_CHARS]


def _skill(name: str, now: Callable[[], datetime]) -> Callable[..., Awaitable[str]]:
    async def ask(**given: Any) -> str:
        question = _asked(given)
        text = plain(question)
        if name == "calculate":
            said = arithmetic.answer(plain(question, kept="()"))
        elif name == "convert_units":
            said = units.answer(text)
        else:
            said = calendar.answer(text, now())
        return said or f"Not understood. Ask like this: {SKILLS[name][1]}"

    return ask


def _timer(
    leave: Callable[[str], None], now: Callable[[], datetime]
) -> Callable[..., Awaitable[str]]:
    async def ask(**given: Any) -> str:
        question = _asked(given)
        said = Timers(time.monotonic_ns).answer(plain(question), now())
        if said == WHEN:
            return f"Not understood. {TIMER_NEEDS_A_TIME}"
        if said is None:
            return f"Not understood. Ask like this: {TIMER_FOR[1]}"
        leave(question)
        return "The device answers."

    return ask


def _volume(leave: Callable[[str], None]) -> Callable[..., Awaitable[str]]:
    async def ask(**given: Any) -> str:
        question = _asked(given)
        if UNSET.answer(plain(question)) is None:
            return f"Not understood. Ask like this: {VOLUME_FOR[1]}"
        leave(question)
        return "The device answers."

    return ask


def _action(name: str, act: Callable[[str], None]) -> Callable[..., Awaitable[str]]:
    async def do(**_: Any) -> str:
        """It has no parameters; what a model gives it all the same changes nothing."""
        act(name)
        return "The device does it now: once is enough."

    return do


class McpServers:
    """The MCP servers. A program, once started, keeps running between requests."""

    def __init__(self, servers: Mapping[str, McpServer], pictures: bool) -> None:
        """`pictures`: the model can see them."""
        self._configured, self._pictures = servers, pictures
        self._toolsets: dict[str, MCPToolset[object]] = {}
        self._known: set[str] = set()
        """Those that were reached the last time."""
        self._skip_until_s: dict[str, float] = {}
        self.troubles: dict[str, str] = {}
        """By server: why it could not be reached, the last time."""
        self.tools: dict[str, list[str]] = {}
        """By server: what it had when it was reached last."""

    def load(self) -> None:
        """Prepare them; nothing is started. Raises ConfigError, ImportError."""
        if self._configured:
            self._toolsets = {
                name: _toolset(given, self._pictures) for name, given in self._configured.items()
            }

    async def connect(
        self, stack: AsyncExitStack, deadline_s: float = math.inf
    ) -> list[AbstractToolset[object]]:
        """Those that can be reached, until `stack` is left. One that cannot costs no answer, which
        is wanted until `deadline_s` of the monotonic clock."""
        reached: list[AbstractToolset[object]] = []
        for name, toolset in self._toolsets.items():
            if time.monotonic() < self._skip_until_s.get(name, 0.0):
                continue
            # That a program has died may show only now; it is started again then.
            tries = 2 if name in self._known else 1
            if await self._reach(name, toolset, stack, tries, deadline_s):
                reached.append(toolset.prefixed(name))
        return reached

    async def _reach(
        self,
        name: str,
        toolset: MCPToolset[object],
        stack: AsyncExitStack,
        tries: int,
        deadline_s: float,
    ) -> bool:
        from anyio import fail_after

        for left in reversed(range(tries)):
            within_s = (deadline_s - time.monotonic()) * SHARE
            try:
                async with AsyncExitStack() as entered:
                    with fail_after(min(self._configured[name].start_timeout_s, within_s)):
                        await entered.enter_async_context(toolset)
                        self.tools[name] = [tool.name for tool in await toolset.list_tools()]
                    await stack.enter_async_context(entered.pop_all())
            except Exception as error:
                if left and not isinstance(error, TimeoutError):
                    continue
                self._known.discard(name)
                self._skip_until_s[name] = time.monotonic() + RETRY_S
                self.troubles[name] = why = _short(error)
                log.warning("the MCP server %s is left out for %.0f s: %s", name, RETRY_S, why)
            else:
                self._known.add(name)
                return True
        return False

    async def warm_up(self) -> None:
        """Start the programs before the first person waits for them."""
        async with AsyncExitStack() as stack:
            await self.connect(stack)

    async def close(self) -> None:
        for name, toolset in self._toolsets.items():
            client: Any = toolset.client
            try:
                await client.close()
            except Exception as error:  # of one that could never be started
                log.debug("the MCP server %s: %s", name, _short(error))


def _toolset(server: McpServer, pictures: bool) -> MCPToolset[object]:
    from fastmcp.client.transports import StdioTransport
    from pydantic_ai.mcp import MCPToolset

    client: Any = server.url
    if server.command is not None:
        client = StdioTransport(server.command, server.args, env=server.env or None)
    return MCPToolset(
        client,
        init_timeout=server.start_timeout_s,
        include_instructions=False,  # What a server says is data, never an instruction.
        process_tool_call=partial(_call, pictures),
        log_handler=_told_by_server,
        auth=server.token(),
    )


async def _told_by_server(message: Any) -> None:
    """A server's own log may quote what was said."""
    log.debug("an MCP server says: %s", message.data)


async def _call(pictures: bool, _: Any, call: Any, name: str, arguments: dict[str, Any]) -> Any:
    """A tool that fails is something the model hears about, not the end of the answer."""
    try:
        result = await call(name, arguments)
    except Exception as error:
        log.info("the tool %s failed: %s", name, type(error).__name__)
        log.debug("the tool %s failed: %s", name, _short(error))  # may quote what was said
        return f"The tool failed: {_short(error)}"
    return _shown(result, pictures)


def _shown(result: Any, pictures: bool) -> Any:
    """What of a result is for the model: of files only pictures, and those only if it can see."""
    from pydantic_ai.messages import BinaryContent

    parts = result if isinstance(result, list) else [result]
    files = [part for part in parts if isinstance(part, BinaryContent)]
    if not files:
        return _cut(result)
    told = [part for part in parts if not isinstance(part, BinaryContent)]
    seen = [file for file in files if pictures and file.is_image]
    if len(seen) < len(files):
        told.append("(Files that you cannot see were left out.)")
    text = _cut(told)
    return [*(text if isinstance(text, list) else [text]), *seen]


def _cut(result: Any) -> Any:
    from pydantic_core import to_json

    text = result if isinstance(result, str) else to_json(result, fallback=str).decode()
    return result if len(text) <= MAX_RESULT_CHARS else f"{text[:MAX_RESULT_CHARS]} ... (cut)"


def _short(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return " ".join(str(error).split())[:200] or type(error).__name__
