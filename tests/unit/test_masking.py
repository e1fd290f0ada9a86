"""No password of a camera or a broker is shown, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.app import _recorder
from edge_runtime.config import Config
from edge_runtime.inference.manifest import load_manifest
from edge_runtime.masking import holds_secrets, masked
from edge_runtime.privacy import privacy
from edge_runtime.reference_engine import reference_engine_folder
from edge_runtime.replay import eagerness, metadata

PIPELINE = "rtspsrc location=rtsp://h/live user-id=bob user-pw=s3cret ! appsink"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://bob:s3cret@10.0.0.7/live",
        "rtsp://bob:s3/cr@et:s3cret@10.0.0.7/live",
        "http://10.0.0.7/video?user=bob&password=s3cret&fps=5",
        "http://10.0.0.7/video?Token = s3cret",
        PIPELINE,
        "'mqtts://me:s3cret@b.lan' does not answer",
        'rtspsrc location=rtsp://h/live user-id=admin user-pw="s3cret!x" ! appsink',
        "rtspsrc location=rtsp://h/live user-pw='a s3cret' ! appsink",
        r'rtspsrc location=rtsp://h/live user-pw="a\"s3cret" ! appsink',
        r"rtspsrc location=rtsp://h/live user-pw=a\ s3cret ! appsink",
        "rtspsrc location=rtsp://h/live user-pw=a!s3cret ! appsink",
        "rtspsrc location=rtsp://h/live user-pw=a@s3cret ! appsink",
        "pipeline: " + repr('rtspsrc user-pw="it\'s s3cret" ! appsink'),
        'rtspsrc location=rtsp://h user-pw="s3cret that is never closed',
        "srtsrc uri=srt://h passphrase=s3cret ! appsink",
        "rtsp://admin:it's3cret@10.0.0.7/live",
        "rtsp://admin:it's s3cret@10.0.0.7/live",
        "'rtsp://admin:it's3cret@10.0.0.7/live' does not open",
        repr("rtsp://admin:\"it's3cret@10.0.0.7/live"),
        "http://10.0.0.7/live?psw=it's3cret&fps=5",
        "http://10.0.0.7/cgi?loginuse=bob&loginpas=s3cret",
        "http://10.0.0.7/video?auth=s3cret",
        "given: mqtt_password=s3cret",
    ],
)
def test_a_password_is_not_shown_and_the_rest_is(text: str) -> None:
    assert "s3cret" not in masked(text) and "***" in masked(text)
    assert masked(text).partition(":")[0] == text.partition(":")[0]


def test_what_stands_around_it_is_shown() -> None:
    assert masked("http://h/?psw=it's&fps=5") == "http://h/?psw=***&fps=5"
    assert masked('user-id=bob user-pw="a b" ! x') == 'user-id=bob user-pw="***" ! x'
    assert masked("'rtsp://b:it's@h/live' failed: a@b") == "'rtsp://***@h/live' failed: a@b"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7:554/live",
        "'rtsp://10.0.0.7/live' does not open: ask admin@h",
        "x264enc key-int-max=30 ! appsink",
        "BRIO_8A2B",
        "/dev/video0",
        "a@b",
    ],
)
def test_what_has_none_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "value",
    [
        {"video": {"source": "rtsp://bob:s3cret@h/live"}},
        {"house": {"command": "tools", "env": {"HOUSE_TOKEN": "s3cret"}}},
        {"house": {"command": "tools", "args": ["--api-key", "s3cret"]}},
        {"house": {"command": "tools", "args": ["-v", "--token=s3cret"]}},
    ],
)
def test_a_secret_is_found_wherever_it_is(value: object) -> None:
    assert holds_secrets({"agent": [value]})


def test_what_only_names_a_secret_holds_none() -> None:
    house = {"command": "tools", "args": ["--port", "/dev/ttyUSB0"], "env": {"HOUSE": "kitchen"}}
    agent = {"mcp_servers": {"house": house}, "api_key_file": "openai-key", "api_key_env": "KEY"}
    broker = {"broker": "mqtts://lan", "user": "edge", "password_file": "mqtt-password"}
    spoken = {"keep": ["secret", "remind me"], "actions": {"key": {"phrases": ["bring the key"]}}}
    assert not holds_secrets([agent, broker, spoken, {"env": {"TOKEN": ""}}])


def test_privacy_tells_the_camera_without_it() -> None:
    said = str(privacy(Config.model_validate({"video": {"source": "rtsp://bob:s3cret@h/live"}})))
    assert "rtsp://***@h/live" in said and "s3cret" not in said


def test_the_notes_of_a_recording_do_not_hold_it(tmp_path: Path) -> None:
    given = {"video": {"source": "rtsp://bob:s3cret@h/live"}, "decision": {"eagerness": 0.5}}
    manifest = load_manifest(reference_engine_folder())
    with _recorder(Config.model_validate(given), {}, manifest)(tmp_path / "recording.mcap"):
        pass
    noted = metadata(tmp_path / "recording.mcap")
    assert noted["config"]["video"]["source"] == "rtsp://***@h/live"
    assert eagerness(noted) == 0.5
    assert b"s3cret" not in (tmp_path / "recording.mcap").read_bytes()
