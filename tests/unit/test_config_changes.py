"""What a configuration changes, told line by line and without secrets."""

from __future__ import annotations

from pathlib import Path

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
        "agent.mcp_servers.house.args: [--token, '***', --key=***, --port, '3', "
        "'http://***@lan'] (default: [])",
        "agent.mcp_servers.house.env: {PIN: '***'} (default: {})",
        "agent.mcp_servers.far.url: https://lan/mcp?token=*** (default: none)",
    ]


def test_words_that_look_like_an_option_only_are_told(tmp_path: Path) -> None:
    text = "actions: {lock: {ros_topic: lock, phrases: [turn the key, open the door]}}"
    assert "phrases: [turn the key, open the door]" in device(tmp_path, text)[0]
