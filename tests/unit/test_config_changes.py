"""What a configuration changes, told line by line and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.background.worker_config import WorkerConfig
from edge_runtime.config import Config, load
from edge_runtime.config_changes import changes


def device(folder: Path, text: str) -> list[str]:
    return list(changes(load(written(folder, text), Config)))


def worker(folder: Path, text: str) -> list[str]:
    return list(changes(load(written(folder, text), WorkerConfig)))


def written(folder: Path, text: str) -> Path:
    path = folder / "edge.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_change_nothing() -> None:
    assert list(changes(Config())) == list(changes(WorkerConfig())) == []


def test_a_key_that_repeats_its_default_is_no_change(tmp_path: Path) -> None:
    assert device(tmp_path, "decision: {eagerness: 0}\naudio: {volume: 0.5, mute: false}") == [
        "audio.volume: 0.5 (default: 1.0)"
    ]


def test_a_file_to_be_read_is_told_with_the_folder_it_is_in(tmp_path: Path) -> None:
    assert device(tmp_path, "voice: {phrases: mine.yaml}") == [
        f"voice.phrases: {tmp_path}/mine.yaml (default: none)"
    ]


def test_of_an_action_only_what_differs_is_told(tmp_path: Path) -> None:
    text = "actions: {wave: {}, lamp: {ros_topic: lamp, answer: Done., phrases: [light please]}}"
    assert device(tmp_path, text) == [
        "actions.wave: {} (default: none)",
        "actions.lamp.phrases: [light please] (default: [])",
        "actions.lamp.ros_topic: lamp (default: none)",
    ]


def test_a_text_of_several_lines_stays_on_one(tmp_path: Path) -> None:
    text = 'actions: {lamp: {text: "one\\ntwo"}}'
    assert device(tmp_path, text) == ['actions.lamp.text: "one\\ntwo" (default: none)']


def test_the_password_of_an_address_is_not_told(tmp_path: Path) -> None:
    assert device(tmp_path, 'video: {source: "rtsp://me:word@10.0.0.7/live"}') == [
        "video.source: rtsp://***@10.0.0.7/live (default: none)"
    ]


def test_what_a_server_of_tools_is_given_is_not_told(tmp_path: Path) -> None:
    text = """
        agent:
          model: openai:gpt-4o-mini
          api_key_file: openai-key
          mcp_servers:
            house:
              command: house-tools
              args: [--token, word1, --key=word2, --port, "3", "http://me:word3@lan"]
              env: {PIN: word4}
            far: {url: "https://lan/mcp?token=word5"}
    """
    told = worker(tmp_path, text)
    assert told == [
        "agent.model: openai:gpt-4o-mini (default: none)",
        "agent.api_key_file: openai-key (default: none)",
        "agent.mcp_servers.house.command: house-tools (default: none)",
        "agent.mcp_servers.house.args: [--token, --key, --port, and 3 more] (default: [])",
        "agent.mcp_servers.house.env: {PIN: '***'} (default: {})",
        "agent.mcp_servers.far.url: https://lan/mcp?*** (default: none)",
    ]


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("command: x, args: [--header, 'Authorization: Bearer sk-word']", "[--header, and 1 more]"),
        ("command: x, args: ['--header Authorization: word']", "[--header]"),
        ("command: x, args: [--bearer, word]", "[--bearer, and 1 more]"),
        ("command: x, args: [--github-pat, word, -v]", "[--github-pat, -v, and 1 more]"),
        ("command: x, args: [-k, word, -kword, '-k=word']", "[-k, -k, -k, and 1 more]"),
        ("command: x, args: [word, word]", "[and 2 more]"),
        ("command: foo --token word", "foo***"),
        ("command: PIN=word foo", "PIN***"),
        ("command: /opt/house-tools", "/opt/house-tools"),
        ("url: 'https://lan/mcp?sig=word'", "https://lan/mcp?***"),
        ("url: 'https://lan/mcp#word'", "https://lan/mcp#***"),
        ("url: 'https://me:word@lan/mcp'", "https://***@lan/mcp"),
    ],
)
def test_a_secret_that_looks_like_none_is_not_told_either(
    tmp_path: Path, server: str, shown: str
) -> None:
    text = f"agent: {{model: 'openai:gpt-4o-mini', mcp_servers: {{house: {{{server}}}}}}}"
    told = worker(tmp_path, text)
    assert told[-1].split(": ", 1)[1].startswith(f"{shown} (default: ")
    assert "word" not in "".join(told)


def test_of_the_address_of_a_model_the_query_is_not_told(tmp_path: Path) -> None:
    text = "agent: {model: mine, base_url: 'http://lan/v1?sig=word'}"
    assert "agent.base_url: http://lan/v1?*** (default: none)" in worker(tmp_path, text)


def test_words_that_look_like_an_option_only_are_told(tmp_path: Path) -> None:
    text = "actions: {lock: {ros_topic: lock, phrases: [turn the key, open the door]}}"
    assert "phrases: [turn the key, open the door]" in device(tmp_path, text)[0]
