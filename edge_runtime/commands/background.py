"""`edge-runtime background`: the worker's side of delegation."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.markup import escape

from edge_runtime.commands.common import (
    ConfigOption,
    console,
    log_as_a_service,
    stop_on_signals,
)
from edge_runtime.config import load
from edge_runtime.config_changes import without_query
from edge_runtime.errors import ConfigError
from edge_runtime.masking import masked

if TYPE_CHECKING:
    from edge_runtime.background.worker_config import WorkerConfig


def background(
    broker: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="mqtt://HOST[:PORT], or mqtts:// for TLS; default: the configured one."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Of this worker, unlike any other's; default: the broker's user, or the host's "
            "with four letters behind it."
        ),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=64, help="Requests at the same time.")] = 4,
    config: ConfigOption = None,
) -> None:
    """A worker: answers the questions that devices hand on over an MQTT broker."""
    from edge_runtime.background.agent import AgentAnswerer
    from edge_runtime.background.answerer import SkillsAnswerer
    from edge_runtime.background.recognisers import ears_for
    from edge_runtime.background.worker import Worker, host_name
    from edge_runtime.background.worker_config import WorkerConfig
    from edge_runtime.delegation.broker import BrokerSettings

    log_as_a_service()
    wanted = load(config, WorkerConfig)
    url = broker or wanted.delegation.broker
    if url is None:
        raise ConfigError(
            "A worker needs a broker: give --broker mqtt://HOST, or delegation.broker in --config."
        )
    settings = BrokerSettings.configured(wanted.delegation, url)
    stop = stop_on_signals()
    given = name or wanted.delegation.user
    known_as = given or f"{host_name()}-{uuid.uuid4().hex[:4]}"
    # What answers is chosen here, and nowhere else.
    if wanted.agent is None:
        answerer: Any = SkillsAnswerer(ears_for(wanted.recogniser))
        model = "offline skills"
    else:
        ears = None if wanted.agent.sound else ears_for(wanted.recogniser)
        answerer, model = AgentAnswerer(wanted.agent, ears), wanted.agent.model
    worker = Worker(
        *(settings, known_as, answerer), model=model, slots=slots, passing_name=given is None
    )
    with answerer, worker:
        console.print(
            f"Worker {worker.name} at {escape(url)}: {escape(able(wanted))}. Ctrl-C stops it.",
            soft_wrap=True,
        )
        stop.wait()


def able(config: WorkerConfig) -> str:
    """What a worker with this configuration can do, and what it cannot."""
    if config.agent is None:
        hears = "English" if config.recogniser.engine == "pocketsphinx" else "free speech"
        return (
            f"understands {hears}; knows time and date, sums and units, leaves timers to the "
            "device; no language model: to anything else it says that it does not know"
        )
    heard_by = config.recogniser.engine
    url = config.agent.base_url
    where = f" at {masked(without_query(url))}" if url else ""
    tools = ", ".join(config.agent.mcp_servers) or "none but the device's actions and exact skills"
    ears = "hears the question" if config.agent.sound else f"reads it from {heard_by}"
    return f"answers with {config.agent.model}{where}, which {ears}; tools: {tools}"
