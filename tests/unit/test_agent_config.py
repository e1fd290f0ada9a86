"""The agent's configuration: closed, and clear about what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edge_runtime.background.agent_config import AgentConfig, McpServer
from edge_runtime.errors import ConfigError

GOOD: dict[str, Any] = {"model": "openai:gpt-4o-mini"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"temprature": 1.0}, "Extra inputs are not permitted"),
        ({"model": "gpt-4o-mini"}, "needs its provider before it"),
        ({"base_url": "localhost:8080"}, "base_url"),
        ({"temperature": 3.0}, "temperature"),
        ({"api_key_file": "k", "api_key_env": "K"}, "not both"),
        ({"mcp_servers": {"My House": {"command": "x"}}}, "mcp_servers"),
        ({"mcp_servers": {"house": {"args": ["x"]}}}, "either `command`"),
        ({"mcp_servers": {"house": {"command": "x", "url": "http://x"}}}, "either `command`"),
        ({"mcp_servers": {"house": {"url": "http://x", "args": ["x"]}}}, "belong to a `command`"),
        ({"mcp_servers": {"house": {"command": "x", "token_file": "t"}}}, "belongs to a `url`"),
    ],
)
def test_a_mistake_is_refused_and_named(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        AgentConfig.model_validate({**GOOD, **wrong})


def test_the_key_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  abc\n")
    assert AgentConfig(**GOOD, api_key_file=tmp_path / "key").api_key() == "abc"


def test_the_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "abc")
    assert AgentConfig(**GOOD, api_key_env="MY_KEY").api_key() == "abc"


def test_without_a_configured_key_it_is_left_to_the_provider() -> None:
    assert AgentConfig(**GOOD).api_key() is None


@pytest.mark.parametrize("content", ["", "two\nlines", None])
def test_a_key_file_that_cannot_be_right_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(ConfigError, match=str(tmp_path / "key")):
        AgentConfig(**GOOD, api_key_file=tmp_path / "key").api_key()


def test_a_servers_token_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    assert McpServer(url="https://x.org", token_file=tmp_path / "token").token() == "abc"


def test_the_built_in_prompt_asks_for_speech() -> None:
    assert "spoken aloud" in AgentConfig(**GOOD).prompt()


@pytest.mark.parametrize("content", [None, " \n"])
def test_a_prompt_file_without_a_prompt_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "prompt.md").write_text(content)
    with pytest.raises(ConfigError, match=r"prompt\.md"):
        AgentConfig(**GOOD, system_prompt=tmp_path / "prompt.md").prompt()
