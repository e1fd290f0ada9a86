"""The language model itself, from whichever provider, and what its errors mean."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

from edge_runtime.background.agent_config import AgentConfig

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.models import Model


def build(config: AgentConfig) -> Agent[object, str]:
    """Raises ConfigError, ImportError, and what a provider raises."""
    from pydantic_ai import Agent
    from pydantic_ai.settings import ModelSettings

    settings = ModelSettings(max_tokens=config.max_tokens)
    if config.temperature is not None:
        settings["temperature"] = config.temperature
    return Agent(
        _model(config),
        instructions=config.prompt(),
        model_settings=settings,
        retries=2,
        name="edge",
    )


def _model(config: AgentConfig) -> Model:
    from pydantic_ai.models import infer_model
    from pydantic_ai.providers import infer_provider_class

    key = config.api_key()
    if config.base_url is not None:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        # Without a key of its own a server must not get the one for another provider.
        provider = OpenAIProvider(base_url=config.base_url, api_key=key or "none")
        return OpenAIChatModel(config.model, provider=provider)
    if key is None:
        return infer_model(config.model)
    make: Any = infer_provider_class
    return infer_model(config.model, lambda name: make(name)(api_key=key))


def reason(error: BaseException) -> str:
    """For the device: short, and nothing that a provider wrote."""
    from pydantic_ai import exceptions

    if isinstance(error, exceptions.ModelHTTPError):
        known = {401: "it refused the key", 403: "it refused the key", 429: "it is too busy"}
        known[404] = "it is not known at this address"
        why = known.get(error.status_code, f"error {error.status_code}")
        return f"the model gave no answer: {why}"
    if isinstance(error, exceptions.UsageLimitExceeded):
        return "the model called too many tools"
    if isinstance(error, exceptions.UnexpectedModelBehavior):
        return "the model gave no usable answer"
    if isinstance(error, (exceptions.ModelAPIError, OSError)):
        return "the model cannot be reached"
    if isinstance(error, (concurrent.futures.CancelledError, asyncio.CancelledError)):
        return "the worker is stopping"
    return f"the agent failed ({type(error).__name__})"
