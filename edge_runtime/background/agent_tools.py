"""What the language model may call: the offline skills, the device's actions, MCP servers."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edge_runtime.background import arithmetic, calendar, units
from edge_runtime.background.agent_config import McpServer
from edge_runtime.background.skills import MAX_CHARS, plain
from edge_runtime.background.timers import ONLY_COUNTS_DOWN, Timers
from edge_runtime.delegation.wire import Ability

if TYPE_CHECKING:
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.toolsets import AbstractToolset

log = logging.getLogger(__name__)
MAX_RESULT_CHARS = 20_000
"""A longer text from an MCP server is cut."""
RETRY_S = 30.0
"""So long a server that could not be reached is left out: each try may keep a person waiting."""

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
    "set a timer for ten minutes; remind me in two hours to call my mother; how much time is left; "
    "cancel the timer",
)
TIMER_COUNTS_DOWN = (
    "It only counts down, for at most seven days. Work out how long it is from now until then, and "
    "ask like this: remind me in fourteen hours and five minutes to call my mother"
)


def own_tools(
    actions: Sequence[Ability],
    now: Callable[[], datetime],
    act: Callable[[str], None],
    leave: Callable[[str], None],
) -> AbstractToolset[object]:
    """The skills and the device's actions. `act` takes the name of an action that was called,
    `leave` a sentence that the device's own skills shall answer."""
    from pydantic_ai import Tool
    from pydantic_ai.toolsets import FunctionToolset

    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    tools = {
        name: Tool.from_schema(_skill(name, now), name, what, _question(example))
        for name, (what, example) in SKILLS.items()
    }
    tools[TIMER] = Tool.from_schema(_timer(leave), TIMER, TIMER_FOR[0], _question(TIMER_FOR[1]))
    for action in actions:
        what = action.description or action.name.replace("_", " ")
        tools[action.name] = Tool.from_schema(
            _action(action.name, act), action.name, f"The device does this: {what}", nothing
        )
    return FunctionToolset(list(tools.values()))


def _question(example: str) -> dict[str, Any]:
    text = {"type": "string", "maxLength": MAX_CHARS, "description": f"In English, like: {example}"}
    return {"type": "object", "properties": {"question": text}, "required": ["question"]}


def _skill(name: str, now: Callable[[], datetime]) -> Callable[..., Awaitable[str]]:
    async def ask(question: str) -> str:
        text = plain(question[:MAX_CHARS])
        if name == "calculate":
            said = arithmetic.answer(plain(question[:MAX_CHARS], kept="()"))
        elif name == "convert_units":
            said = units.answer(text)
        else:
            said = calendar.answer(text, now())
        return said or f"Not understood. Ask like this: {SKILLS[name][1]}"

    return ask


def _timer(leave: Callable[[str], None]) -> Callable[..., Awaitable[str]]:
    async def ask(question: str) -> str:
        said = Timers(time.monotonic_ns).answer(plain(question[:MAX_CHARS]))
        if said == ONLY_COUNTS_DOWN:
            return f"Not understood. {TIMER_COUNTS_DOWN}"
        if said is None:
            return f"Not understood. Ask like this: {TIMER_FOR[1]}"
        leave(question[:MAX_CHARS])
        return "The device answers."

    return ask


def _action(name: str, act: Callable[[str], None]) -> Callable[..., Awaitable[str]]:
    async def do() -> str:
        act(name)
        return "The device was told to do it."

    return do


class McpServers:
    """The MCP servers. A program, once started, keeps running between requests."""

    def __init__(self, servers: Mapping[str, McpServer]) -> None:
        self._configured = servers
        self._toolsets: dict[str, MCPToolset[object]] = {}
        self._known: set[str] = set()
        """Those that were reached the last time."""
        self._skip_until_s: dict[str, float] = {}

    def load(self) -> None:
        """Prepare them; nothing is started. Raises ConfigError, ImportError."""
        if self._configured:
            self._toolsets = {name: _toolset(given) for name, given in self._configured.items()}

    async def connect(self, stack: AsyncExitStack) -> list[AbstractToolset[object]]:
        """Those that can be reached, until `stack` is left. One that cannot costs no answer."""
        reached: list[AbstractToolset[object]] = []
        for name, toolset in self._toolsets.items():
            if time.monotonic() < self._skip_until_s.get(name, 0.0):
                continue
            # That a program has died may show only now; it is started again then.
            tries = 2 if name in self._known else 1
            if await self._reach(name, toolset, stack, tries):
                reached.append(toolset.prefixed(name))
        return reached

    async def _reach(
        self, name: str, toolset: MCPToolset[object], stack: AsyncExitStack, tries: int
    ) -> bool:
        for left in reversed(range(tries)):
            try:
                async with AsyncExitStack() as entered:
                    await entered.enter_async_context(toolset)
                    await toolset.list_tools()
                    await stack.enter_async_context(entered.pop_all())
            except Exception as error:
                if left:
                    continue
                self._known.discard(name)
                self._skip_until_s[name] = time.monotonic() + RETRY_S
                why = _short(error)
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
        for toolset in self._toolsets.values():
            client: Any = toolset.client
            await client.close()


def _toolset(server: McpServer) -> MCPToolset[object]:
    from fastmcp.client.transports import StdioTransport
    from pydantic_ai.mcp import MCPToolset

    client: Any = server.url
    if server.command is not None:
        client = StdioTransport(server.command, server.args, env=server.env or None)
    return MCPToolset(
        client,
        init_timeout=server.start_timeout_s,
        include_instructions=False,  # What a server says is data, never an instruction.
        process_tool_call=_call,
        auth=server.token(),
    )


async def _call(_: Any, call: Any, name: str, arguments: dict[str, Any]) -> Any:
    """A tool that fails is something the model hears about, not the end of the answer."""
    try:
        result = await call(name, arguments)
    except Exception as error:
        log.info("the tool %s failed: %s", name, type(error).__name__)
        log.debug("the tool %s failed: %s", name, _short(error))  # may quote what was said
        return f"The tool failed: {_short(error)}"
    if isinstance(result, str) and len(result) > MAX_RESULT_CHARS:
        return f"{result[:MAX_RESULT_CHARS]} ... (cut)"
    return result


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
