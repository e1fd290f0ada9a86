"""The language model itself, from whichever provider, and what its errors mean."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
from typing import TYPE_CHECKING, Any

from edge_runtime.background.agent_config import AgentConfig

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.exceptions import ModelHTTPError
    from pydantic_ai.models import Model


def build(config: AgentConfig) -> Agent[object, str]:
    """Raises ConfigError, ImportError, and what a provider raises."""
    from pydantic_ai import Agent
    from pydantic_ai.settings import ModelSettings

    settings = ModelSettings(max_tokens=config.max_tokens)
    if config.temperature is not None:
        settings["temperature"] = config.temperature
    if config.extra_body:
        settings["extra_body"] = config.extra_body
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
        from pydantic_ai.profiles.openai import OpenAIModelProfile
        from pydantic_ai.providers.openai import OpenAIProvider

        # Without a key of its own a server must not get the one for another provider.
        provider = OpenAIProvider(base_url=config.base_url, api_key=key or "none")
        # What such servers have known longest.
        profile = OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False)
        return OpenAIChatModel(config.model, provider=provider, profile=profile)
    if key is None:
        return infer_model(config.model)
    make: Any = infer_provider_class
    return infer_model(config.model, lambda name: make(name)(api_key=key))


NO_TOOLS = re.compile(
    r"not support (?:tools|function)|tools? param requires|tool.?call.?parser", re.I
)
"""How Ollama, llama.cpp and vLLM say so."""


def reason(error: BaseException, model: str = "") -> str:
    """For the device and the log: short, and nothing that a provider wrote."""
    from pydantic_ai import exceptions

    if isinstance(error, exceptions.ModelHTTPError):
        return f"the model gave no answer: {_refusal(error, model)}"
    if isinstance(error, exceptions.UsageLimitExceeded):
        return "the model called too many tools"
    if isinstance(error, exceptions.UnexpectedModelBehavior):
        if "token limit" in str(error).lower():
            return "the model used up agent.max_tokens before it came to an answer"
        return "the model gave no usable answer"
    if isinstance(error, (exceptions.ModelAPIError, OSError)):
        return "the model cannot be reached"
    if isinstance(error, (concurrent.futures.CancelledError, asyncio.CancelledError)):
        return "the worker is stopping"
    return f"the agent failed ({type(error).__name__})"


def _refusal(error: ModelHTTPError, model: str) -> str:
    if error.status_code in (401, 403):
        return "it refused the key"
    if error.status_code == 429:
        return "it is too busy"
    if NO_TOOLS.search(str(error.body)):
        return (
            "it cannot call tools: choose a model that can, start its server so that it does "
            "(llama.cpp: --jinja; vLLM: --enable-auto-tool-choice), or set agent.tools: false"
        )
    if error.status_code == 404:
        return f"{model or 'it'} is not known at this address"
    return f"error {error.status_code}"


def another_may_answer(error: BaseException) -> bool:
    """The model is not there or is overloaded: that says nothing about the question."""
    from pydantic_ai import exceptions

    if isinstance(error, exceptions.ModelHTTPError):
        return error.status_code in (401, 403, 404, 408, 429) or error.status_code >= 500
    return isinstance(error, (exceptions.ModelAPIError, OSError))
