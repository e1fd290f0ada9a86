"""A worker: its broker, its recogniser, its language model and the servers of tools, each asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import numpy as np

from edge_runtime.background.agent_config import AgentConfig
from edge_runtime.background.agent_tools import McpServers
from edge_runtime.background.recognisers import ears_for
from edge_runtime.background.worker_config import WorkerConfig
from edge_runtime.delegation.wire import Ability, ReplyKind, RequestMessage
from edge_runtime.doctor.finding import Finding, absent, failed, ok, warning
from edge_runtime.doctor.link import reached
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ

ANSWER_S = 60.0
"""A server that loads its model first needs so long."""
SLOW_S = 3.0
"""To the first words: a person waits for them."""
TOOL = Ability(
    name="doctor_check", description="A test of your tools. Call it once, before you answer."
)
QUESTION = "A test: call the tool doctor_check, and then say in one short sentence that it works."

NAMED = 8
"""Tools of a server."""
WorkerCheck = Callable[[WorkerConfig], list[Finding]]


def broker(config: WorkerConfig) -> list[Finding]:
    """Whether it can be reached as this worker."""
    if config.delegation.broker is None:
        return [failed("broker", "none is configured", "Set delegation.broker, or give --broker.")]
    needed = (
        "its user there needs the right to write background/<worker>/status and "
        "edge/+/replies, and to read edge/+/requests and edge/+/cancel"
    )
    return [reached(config.delegation, config.delegation.broker, needed)]


def recogniser(config: WorkerConfig) -> list[Finding]:
    """Whether it can be loaded, and how long it takes for two seconds of sound."""
    chosen = config.recogniser
    if config.agent is not None and config.agent.sound:
        return [absent("recogniser", "the model hears the question itself (agent.sound)")]
    noise = 0.01 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE_HZ)
    ears = ears_for(chosen)
    try:
        ears.load()
        began_s = time.monotonic()
        ears.hear(noise.astype(np.float32))
    except EdgeRuntimeError as error:
        return [failed("recogniser", str(error))]
    took_s = time.monotonic() - began_s
    text = f"{chosen.engine} takes {took_s:.1f} s for 2 s of sound"
    return [ok("recogniser", text, seconds=round(took_s, 2))]


def model(config: WorkerConfig) -> list[Finding]:
    """Whether it answers, how soon, and whether it calls a tool."""
    from edge_runtime.background.agent import AgentAnswerer

    chosen = config.agent
    if chosen is None:
        return [absent("model", "no agent is configured: the offline skills answer")]
    alone = chosen.model_copy(update={"mcp_servers": {}})
    try:
        with AgentAnswerer(alone) as agent:
            return [_asked(agent.answer, chosen)]
    except EdgeRuntimeError as error:
        return [failed("model", str(error), _where(chosen))]


def tools(config: WorkerConfig) -> list[Finding]:
    """Each MCP server: whether it can be reached, and what it has."""
    if config.agent is None or not config.agent.mcp_servers:
        return []
    return asyncio.run(_reach(config.agent))


CHECKS: tuple[tuple[str, WorkerCheck], ...] = (
    ("broker", broker),
    ("recogniser", recogniser),
    ("model", model),
    ("tools", tools),
)


def examine(
    config: WorkerConfig, on_begin: Callable[[str], None] = lambda name: None
) -> Iterator[Finding]:
    """Each finding as soon as it is there. A check that breaks is a finding too."""
    for name, check in CHECKS:
        on_begin(name)
        try:
            found = check(config)
        except Exception as error:
            found = [failed(name, f"it could not be checked: {type(error).__name__}: {error}")]
        for finding in found:
            yield finding.masked()


def _asked(
    answer: Callable[..., None],
    chosen: AgentConfig,
) -> Finding:
    began_s = time.monotonic()
    first_s: list[float] = []
    told: list[tuple[ReplyKind, str]] = []

    def reply(kind: ReplyKind, text: str = "", action: str | None = None) -> None:
        if text.strip() and kind in (ReplyKind.PARTIAL, ReplyKind.RESULT):
            first_s.append(time.monotonic() - began_s)
        told.append((kind, action or text))

    actions = (TOOL,) if chosen.tools else ()
    request = RequestMessage(
        id="doctor", device="doctor", deadline_s=ANSWER_S, transcript=QUESTION, actions=actions
    )
    answer(request, np.zeros(0, np.float32), threading.Event(), reply)
    kinds = [kind for kind, _ in told]
    if ReplyKind.RESULT not in kinds:
        why = next((text for kind, text in told if kind is ReplyKind.FAILED), "no answer")
        return failed("model", why, _where(chosen))
    called = (ReplyKind.ACTION, TOOL.name) in told
    took_s = first_s[0] if first_s else time.monotonic() - began_s
    text = f"{chosen.model} answers after {took_s:.1f} s"
    values = {"first_words_s": round(took_s, 2), "calls_tools": called}
    if chosen.tools and not called:
        remedy = (
            "Choose a model that can, or agent.tools: false: then it does no action, and sums by "
            "itself."
        )
        return warning("model", f"{text}, and calls no tool when it is asked to", remedy, **values)
    if took_s > SLOW_S:
        remedy = (
            "The first request may have loaded it: try again. Else a smaller model, or one that "
            "thinks less (agent.extra_body)."
        )
        return warning("model", f"{text}: a person waits for so long", remedy, **values)
    return ok("model", text + (", and calls tools" if called else ""), **values)


def _where(chosen: AgentConfig) -> str:
    if chosen.base_url is None:
        return "See agent.model and the provider's key (agent.api_key_file)."
    return f"Does its server run at {chosen.base_url}, and does it name the model {chosen.model}?"


async def _reach(chosen: AgentConfig) -> list[Finding]:
    servers = McpServers(chosen.mcp_servers, pictures=False)
    servers.load()
    try:
        async with AsyncExitStack() as stack:
            await servers.connect(stack)
    finally:
        await servers.close()
    return [_served(name, servers) for name in chosen.mcp_servers]


def _served(name: str, servers: McpServers) -> Finding:
    if (why := servers.troubles.get(name)) is not None:
        remedy = f"See agent.mcp_servers.{name}; answers are given without it."
        return failed("tools", f"{name} cannot be reached: {why}", remedy)
    names = servers.tools.get(name, [])
    listed = ", ".join(names[:NAMED]) + ", ..." * (len(names) > NAMED)
    return ok("tools", f"{name}: {listed or 'none'}", tools=len(names))
