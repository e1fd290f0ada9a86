"""What can be configured about the language model that answers. Importing this loads no vendor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from edge_runtime.config import InputFile, SecretFile
from edge_runtime.credentials import secret
from edge_runtime.errors import ConfigError

PROMPT = Path(__file__).with_name("system_prompt.md")
"""How to answer, if the configuration names no file of its own."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class McpServer(_Section):
    """A server of tools: a program that speaks MCP over its pipes, or an address."""

    command: str | None = Field(
        None, min_length=1, examples=["house-tools"], description="The program to start."
    )
    args: list[str] = Field(
        default_factory=list, examples=[["--port", "/dev/ttyUSB0"]], description="Its arguments."
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        examples=[{"HOUSE": "kitchen"}],
        description="Environment variables for it; few others are passed on.",
    )
    url: str | None = Field(
        None,
        pattern=r"^https?://",
        examples=["https://tools.lan/mcp"],
        description="Of a server that runs elsewhere.",
    )
    token_file: SecretFile | None = Field(
        None,
        strict=False,
        examples=["house-token"],
        description="A file with the bearer token for the address.",
    )
    start_timeout_s: float = Field(
        10.0,
        gt=0,
        le=120,
        description="A server that takes longer to name its tools, or half of the time that is "
        "left for an answer, is left out for a while.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either `command` (and `args`) or `url`")
        if self.command is None and (self.args or self.env):
            raise ValueError("`args` and `env` belong to a `command`")
        if self.url is None and self.token_file is not None:
            raise ValueError("`token_file` belongs to a `url`")
        return self

    def token(self) -> str | None:
        """Raises ConfigError."""
        return secret(self.token_file) if self.token_file is not None else None


class AgentConfig(_Section):
    """A language model, its tools and its limits."""

    model: str = Field(
        min_length=1,
        examples=["openai:gpt-4o-mini"],
        description="`openai:gpt-4o-mini`, `anthropic:...`, `google:...`; with `base_url`, the "
        "server's own name of the model.",
    )
    base_url: str | None = Field(
        None,
        pattern=r"^https?://",
        examples=["http://localhost:8080/v1"],
        description="A server with OpenAI's chat completions (llama.cpp, vLLM, Ollama), "
        "such as http://localhost:8080/v1.",
    )
    api_key_file: SecretFile | None = Field(
        None, strict=False, examples=["openai-key"], description="A file with the key only."
    )
    api_key_env: str | None = Field(
        None,
        min_length=1,
        examples=["MY_KEY"],
        description="The environment variable with the key; default: the provider's own, such as "
        "OPENAI_API_KEY, and no key for a `base_url`.",
    )
    system_prompt: InputFile | None = Field(
        None,
        strict=False,
        examples=["prompt.md"],
        description="A file that says how to answer, instead of the built-in.",
    )
    temperature: float | None = Field(
        None,
        ge=0.0,
        le=2.0,
        examples=[0.5],
        description="Default: the model's own; some models refuse any other.",
    )
    max_tokens: int = Field(
        2000, ge=16, le=100_000, description="For one turn of the model, its thinking included."
    )
    max_answer_chars: int = Field(
        1200, ge=40, le=20_000, description="What is longer is cut off between two sentences."
    )
    max_tool_calls: int = Field(8, ge=0, le=100, description="For one answer.")
    tools: bool = Field(
        True,
        description="The model can call tools. Without them it does sums by itself and no action; "
        "there are no MCP servers then.",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        examples=[{"chat_template_kwargs": {"enable_thinking": False}}],
        description="Goes with each request to the model, as its server names it: thinking, for "
        "example, makes a person wait.",
    )
    pictures: bool = Field(False, description="The model can see: give it the request's picture.")
    sound: bool = Field(
        False,
        description="The model can hear: give it the request's sound, and use no recogniser.",
    )
    mcp_servers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")], McpServer] = Field(
        default_factory=dict,
        examples=[{"house": {"command": "house-tools"}}],
        description="By name; the names of its tools begin with it.",
    )

    @model_validator(mode="after")
    def _clear(self) -> Self:
        if self.base_url is None and ":" not in self.model:
            raise ValueError(
                f"the model {self.model!r} needs its provider before it, such as "
                "`openai:gpt-4o-mini`, or the `base_url` of a server"
            )
        if self.api_key_file is not None and self.api_key_env is not None:
            raise ValueError("give `api_key_file` or `api_key_env`, not both")
        if self.mcp_servers and not self.tools:
            raise ValueError("`mcp_servers` are tools, and `tools` is false")
        return self

    def api_key(self) -> str | None:
        """The configured key; None leaves it to the provider. Raises ConfigError."""
        if self.api_key_file is not None:
            return secret(self.api_key_file)
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ConfigError(f"The environment variable {self.api_key_env} is not set.")
        return key

    def prompt(self) -> str:
        """How to answer. Raises ConfigError."""
        path = self.system_prompt or PROMPT
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The system prompt {path} (agent.system_prompt) cannot be read: {error}."
            ) from error
        if not text:
            raise ConfigError(f"The system prompt {path} is empty.")
        return text
