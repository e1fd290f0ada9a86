"""`edge-runtime background`: the worker's side of delegation."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from edge_runtime.commands.common import ConfigOption, console, stop_on_signals
from edge_runtime.config import load
from edge_runtime.errors import ConfigError


def background(
    broker: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="mqtt://HOST[:PORT], or mqtts:// for TLS; default: the configured one."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Of this worker, unlike any other's; default: the broker's user, or the host."
        ),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=64, help="Requests at the same time.")] = 4,
    config: ConfigOption = None,
) -> None:
    """A worker: answers the questions that devices hand on over an MQTT broker."""
    from edge_runtime.background.agent import AgentAnswerer
    from edge_runtime.background.answerer import Ears, SkillsAnswerer
    from edge_runtime.background.transcribe import ProcessTranscriber
    from edge_runtime.background.worker import Worker, host_name
    from edge_runtime.background.worker_config import WorkerConfig
    from edge_runtime.delegation.broker import BrokerSettings

    wanted = load(config, WorkerConfig)
    chosen = wanted.delegation
    url = broker or chosen.broker
    if url is None:
        raise ConfigError(
            "A worker needs a broker: give --broker mqtt://HOST, or delegation.broker in --config."
        )
    settings = BrokerSettings.configured(chosen, url)
    stop = stop_on_signals()
    # What answers is chosen here, and nowhere else.
    ears = Ears(ProcessTranscriber)
    known_as = name or chosen.user or host_name()
    if wanted.agent is None:
        skills = SkillsAnswerer(ears)
        answerer: Any = skills
        able = "understands English; knows time and date, sums, units and timers; no language model"
        worker = Worker(
            settings, known_as, skills, model="offline skills", slots=slots, reminders=skills.due
        )
    else:
        answerer = AgentAnswerer(wanted.agent, ears)
        able = f"answers with {wanted.agent.model}"
        worker = Worker(settings, known_as, answerer, model=wanted.agent.model, slots=slots)
    with answerer, worker:
        console.print(
            f"Worker {worker.name} at {escape(url)}: {able}. Ctrl-C stops it.", soft_wrap=True
        )
        stop.wait()
