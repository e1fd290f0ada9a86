"""What a user gets for a bad input, and from the small commands."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from broker import free_port
from program import assert_refused, edge, needs_espeak, spoken, written

from edge_runtime import __version__
from edge_runtime.sources.portaudio import audio_devices

Arrange = Callable[[Path, Path], list[str | Path]]
"""Makes the bad input in a folder, with the reference model's folder at hand; gives arguments."""


def config(text: str) -> Arrange:
    return lambda here, _: ["--config", written(here / "edge.yaml", text)]


def file(option: str, name: str, text: str) -> Arrange:
    return lambda here, _: [option, written(here / name, text)]


def plain(*arguments: str) -> Arrange:
    return lambda here, _: list(arguments)


def damaged_model(here: Path, reference: Path) -> list[str | Path]:
    folder = shutil.copytree(reference, here / "model", ignore=lambda *_: ["corpus"])
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    return ["--engine", folder]


def other_graph(here: Path, reference: Path) -> list[str | Path]:
    folder = shutil.copytree(reference, here / "model", ignore=lambda *_: ["corpus"])
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    manifest["outputs"][0]["name"] = "another_name"
    written(folder / "manifest.yaml", yaml.safe_dump(manifest))
    return ["--engine", folder]


BAD: dict[str, tuple[Arrange, list[str]]] = {
    "a key that does not exist": (
        config("audoi: {volume: 0.5}"),
        ["edge.yaml", "audoi", "Did you mean `audio`?"],
    ),
    "a value of the wrong type": (
        config("engine: {threads: two}"),
        ["edge.yaml", "engine.threads", "valid integer", "'two'"],
    ),
    "a phrase that cannot be": (
        config("actions: {lamp_on: {phrases: ['turn (on the lamp']}}"),
        ["edge.yaml", "actions.lamp_on.phrases", "brackets do not match"],
    ),
    "a topic without a broker": (
        lambda here, _: [
            *config("actions: {wave: {mqtt_topic: arm/wave}}")(here, here),
            *("--speed", "real"),
        ],
        ["actions.wave.mqtt_topic needs a broker", "delegation.broker, mqtt://HOST"],
    ),
    "no such configuration": (
        plain("--config", "none.yaml"),
        ["no configuration file none.yaml", "Give its path"],
    ),
    "no such sound": (
        plain("--audio", "none.wav"),
        ["none.wav does not exist", "Give --audio the path"],
    ),
    "a sound that is none": (
        file("--audio", "talk.wav", "these are words, and no samples"),
        ["talk.wav is not a sound file", "WAV"],
    ),
    "a sound whose name looks like markup": (
        plain("--audio", "a[bold]b[/red].wav"),
        ["a[bold]b[/red].wav does not exist", "Give --audio"],
    ),
    "no such video": (
        plain("--video", "none.mp4"),
        ["none.mp4", "give --video"],
    ),
    "a folder without pictures": (
        lambda here, _: ["--video", written(here / "pictures" / "a.txt", "x").parent],
        ["pictures holds no pictures", ".png"],
    ),
    "a video that is none": (
        file("--video", "film.mp4", "these are words, and no pictures"),
        ["film.mp4 holds no picture", "ffmpeg -i"],
    ),
    "a camera that is not there, beside a recorded sound": (
        plain("--video", "/dev/video99"),
        ["/dev/video99", "leave it out"],
    ),
    "a model that is not the one described": (
        damaged_model,
        ["model.onnx is not the file its manifest describes", "copy the whole folder again"],
    ),
    "a manifest of another graph": (
        other_graph,
        ["output another_name: manifest float32", "graph has none", "Export the model again"],
    ),
    "a folder without a model": (
        lambda here, _: ["--engine", here],
        ["no manifest.yaml", "Give a folder"],
    ),
    "a speed that does not exist": (
        plain("--speed", "warp"),
        ["Invalid value for '--speed'", "'warp'", "'real'", "'max'"],
    ),
}


@needs_espeak
@pytest.mark.parametrize("case", BAD)
def test_a_bad_input_is_refused_with_its_name_and_a_remedy_and_leaves_no_file(
    tmp_path: Path, repository: Path, case: str
) -> None:
    arrange, words = BAD[case]
    sound = spoken(tmp_path / "good.wav")
    arguments = arrange(tmp_path, repository / "engines" / "reference")
    # What comes later on the command line takes the place of what came before.
    result = edge("run", "--speed", "max", "--audio", sound, "--out", "out", *arguments,
                  cwd=tmp_path)  # fmt: skip
    assert_refused(result, *words)
    assert not (tmp_path / "out").exists()


@needs_espeak
def test_a_bad_input_leaves_the_files_of_the_run_before_alone(tmp_path: Path) -> None:
    for name in ("conversation.wav", "recording.mcap"):
        written(tmp_path / "out" / name, "precious")
    result = edge("run", "--audio", "none.wav", "--speed", "max", "--out", "out", cwd=tmp_path)
    assert_refused(result, "none.wav")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["conversation.wav", "recording.mcap"]
    assert {path.read_text() for path in (tmp_path / "out").iterdir()} == {"precious"}


@needs_espeak
def test_what_a_fast_run_does_not_send_is_told_and_a_real_one_says_nothing_of_it(
    tmp_path: Path,
) -> None:
    sound = spoken(tmp_path / "good.wav", seconds=0.4)
    home = written(
        tmp_path / "home.yaml",
        f"delegation: {{broker: 'mqtt://127.0.0.1:{free_port()}', outbox: {tmp_path / 'o.db'}}}\n"
        "home_assistant: {enabled: true}\nros: {dds: true}\n"
        "actions: {lamp_on: {mqtt_topic: lamp/set}, dock: {ros_topic: dock}}\n"
        f"http: {{port: {free_port()}, live: true}}",
    )
    run = ("run", "--audio", sound, "--tail", "0", "--speed")
    told = edge(*run, "max", "--config", home, cwd=tmp_path).stdout
    assert (
        "with --speed max nothing is sent: no question to a worker, no action over MQTT (lamp_on), "
        "no word to Home Assistant, nothing over DDS, no page over HTTP. To try it, leave --speed "
        "out." in told
    )
    assert not (tmp_path / "o.db").exists()
    plain = written(tmp_path / "plain.yaml", "actions: {dock: {ros_topic: dock}}")
    assert "--speed" not in edge(*run, "max", "--config", plain, cwd=tmp_path).stdout
    real = written(tmp_path / "real.yaml", home.read_text().replace("dds: true", "dds: false"))
    assert "--speed" not in edge(*run, "real", "--config", real, cwd=tmp_path).stdout


@needs_espeak
def test_a_phrase_that_leads_nowhere_is_a_warning(tmp_path: Path) -> None:
    sound = spoken(tmp_path / "good.wav", seconds=0.4)
    config = written(tmp_path / "home.yaml", "actions: {lamp_on: {phrases: [lamp on now]}}")
    run = edge(
        *("run", "--audio", sound, "--tail", "0", "--speed", "max", "--config", config),
        cwd=tmp_path,
    )
    assert run.returncode == 0
    assert "actions.lamp_on: what it answers to its phrases is said" in " ".join(run.stderr.split())


@needs_espeak
@pytest.mark.parametrize("out", ["file", "file/deeper", "taken"])
def test_a_place_that_cannot_be_written_is_refused_and_left_as_it_was(
    tmp_path: Path, out: str
) -> None:
    sound = spoken(tmp_path / "good.wav")
    written(tmp_path / "file", "not a folder")
    (tmp_path / "taken" / "conversation.wav").mkdir(parents=True)
    result = edge("run", "--audio", sound, "--speed", "max", "--out", out, cwd=tmp_path)
    assert_refused(result, f"{out}/", "cannot be written", "--out")
    assert (tmp_path / "file").read_text() == "not a folder"
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["conversation.wav"]


def test_without_espeak_the_remedy_is_to_install_it(tmp_path: Path) -> None:
    sound = spoken(tmp_path / "good.wav")
    result = edge("run", "--audio", sound, "--speed", "max", "--out", "out", cwd=tmp_path,
                  environment={"PATH": str(tmp_path)})  # fmt: skip
    assert_refused(result, "espeak-ng is not installed", "apt-get install espeak-ng")
    assert not (tmp_path / "out").exists()


@needs_espeak
class TestWithoutDevices:
    @pytest.fixture(autouse=True)
    def _no_microphone(self) -> None:
        pytest.importorskip("pyaudio")
        if any(found.kind == "microphone" for found in audio_devices()):
            pytest.skip("this machine has a microphone")

    def refused(self, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        result = edge("run", "--out", "out", *arguments, cwd=tmp_path)
        assert not (tmp_path / "out").exists()
        return result

    def test_no_microphone(self, tmp_path: Path) -> None:
        assert_refused(self.refused(tmp_path), "There is no microphone", "--audio FILE")

    def test_an_unknown_microphone_is_named(self, tmp_path: Path) -> None:
        result = self.refused(tmp_path, "--audio", "USB 2.0 Yeti")
        assert_refused(result, "no microphone", "'USB 2.0 Yeti'", "--audio FILE")

    def test_a_missing_camera_is_named(self, tmp_path: Path) -> None:
        result = self.refused(tmp_path, "--video", "/dev/video99")
        assert_refused(result, "There is no camera '/dev/video99'", "run without a camera")

    def test_a_microphone_has_its_own_speed(self, tmp_path: Path) -> None:
        result = self.refused(tmp_path, "--speed", "max")
        assert_refused(result, "--speed max needs --audio FILE")


def test_devices_lists_every_kind_or_says_what_to_do(tmp_path: Path) -> None:
    result = edge("devices", cwd=tmp_path)
    assert result.returncode == 0
    for kind in ("microphone", "loudspeaker", "camera"):
        row = next(line for line in result.stdout.splitlines() if kind in line)
        assert any(word in row for word in ("Hz", "/dev/video", "connect a", "pip install")), row


def test_the_installed_command_tells_the_version(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("edge-runtime")
    if not command.exists():
        pytest.skip("the package is not installed: there is no edge-runtime command")
    result = subprocess.run(
        [command, "version"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert result.stdout.strip() == __version__
    assert edge("version", cwd=tmp_path).stdout == result.stdout
    assert edge("--version", cwd=tmp_path).stdout == result.stdout


def test_help_names_every_command_and_each_has_help_of_its_own(tmp_path: Path) -> None:
    overview = edge("--help", cwd=tmp_path)
    assert overview.returncode == 0
    for command, option in (
        ("run", "--speed"),
        ("demo", "--seed"),
        ("replay", "--engine"),
        ("bench", "--hours"),
        ("devices", "--help"),
        ("version", "--help"),
    ):
        assert command in overview.stdout
        assert option in edge(command, "--help", cwd=tmp_path).stdout


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    assert_refused(edge("dance", cwd=tmp_path), "No such command 'dance'")


@pytest.mark.parametrize(
    ("section", "key", "named"),
    [
        ("voice: {phrases: mine}", "voice.phrases", "mine"),
        ("engine: {folder: mine}", "engine.folder", "mine"),
        ("delegation: {broker: 'mqtts://127.0.0.1', ca_file: ca.pem}", "ca_file", "ca.pem"),
    ],
)
def test_a_relative_name_is_of_the_configuration_and_told_in_full(
    tmp_path: Path, section: str, key: str, named: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    sound = spoken(tmp_path / "talk.wav")
    config = written(tmp_path / "etc" / "edge.yaml", section)
    run = edge("run", "--config", "../etc/edge.yaml", "--audio", sound, cwd=work)
    assert_refused(run, key, f"{config.parent.name}/{named}", str(tmp_path))


@needs_espeak
def test_words_beside_the_configuration_are_found_from_anywhere(tmp_path: Path) -> None:
    sound = spoken(tmp_path / "talk.wav")
    written(tmp_path / "etc" / "mine.yaml", "en: {greet: [Moin.]}")
    config = written(tmp_path / "etc" / "edge.yaml", "voice: {phrases: mine.yaml}")
    run = edge("run", "--config", config, "--audio", sound, "--speed", "max", cwd=tmp_path)
    assert run.returncode == 0, run.stderr


def test_config_prints_a_file_that_it_takes_back(tmp_path: Path) -> None:
    for of in ([], ["--background"]):
        printed = edge("config", *of, cwd=tmp_path)
        assert (printed.returncode, printed.stderr) == (0, "")
        whole = written(tmp_path / "whole.yaml", printed.stdout)
        checked = edge("config", *of, "--check", whole, cwd=tmp_path)
        assert checked.stdout == "Nothing differs from the defaults.\n", checked.stderr


def test_config_prints_a_part_and_refuses_what_is_none(tmp_path: Path) -> None:
    assert "  eagerness: 0.0\n" in edge("config", "decision.eagerness", cwd=tmp_path).stdout
    assert "#api_key_file:" in edge("config", "--background", "agent", cwd=tmp_path).stdout
    assert_refused(edge("config", "decison", cwd=tmp_path), "Did you mean `decision`?")
    assert_refused(edge("config", "voice", "--phrases", cwd=tmp_path), "not several")


def test_config_checks_a_file_as_it_would_be_read(tmp_path: Path) -> None:
    text = "video: {source: 'rtsp://me:word@lan/1'}\nactions: {lamp: {phrases: [light please]}}"
    good = edge("config", "--check", written(tmp_path / "edge.yaml", text), cwd=tmp_path)
    assert good.returncode == 0
    assert good.stdout.splitlines() == [
        "video.source: rtsp://***@lan/1 (default: none)",
        "actions.lamp.phrases: [light please] (default: [])",
    ]
    assert "actions.lamp" in good.stderr and "nothing is done" in " ".join(good.stderr.split())
    bad = written(tmp_path / "bad.yaml", "audoi: {volume: 0.5}")
    refused = edge("config", "--check", bad, cwd=tmp_path)
    assert_refused(refused, "bad.yaml", "Did you mean `audio`?")
    agent = written(tmp_path / "worker.yaml", "agent: {model: 'openai:gpt-4o-mini'}")
    told = edge("config", "--background", "--check", agent, cwd=tmp_path).stdout
    assert told == "agent.model: openai:gpt-4o-mini (default: none)\n"


@needs_espeak
def test_a_run_keeps_the_files_of_the_run_before(tmp_path: Path) -> None:
    arguments = ("--audio", spoken(tmp_path / "talk.wav"), "--speed", "max", "--tail", "1")
    out, before = tmp_path / "out", {}
    for number in range(2):
        run = edge("run", *arguments, "--out", "out", cwd=tmp_path)
        assert run.returncode == 0
        assert ("out: what an earlier run has left there is kept" in run.stdout) is (number == 1)
        before = before or {path.suffix: path.read_bytes() for path in out.iterdir()}
    assert len(list(out.iterdir())) == 4 and before.keys() == {".wav", ".mcap"}
    for name in ("conversation.wav", "recording.mcap"):
        kept, suffix = name.split(".")
        (earlier,) = out.glob(f"{kept}-????????T??????.{suffix}")
        assert earlier.read_bytes() == before[earlier.suffix]
        assert (out / name).exists()


@needs_espeak
@pytest.mark.parametrize("from_its_start", [False, True])
def test_a_terminal_that_stands_still_keeps_nothing_from_its_end(
    from_its_start: bool, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    sound, out = tmp_path / "talk.wav", tmp_path / "out"
    words = "what time is it? " * 8
    subprocess.run(["espeak-ng", "-v", "en-us", "-w", sound, words], check=True)
    command = [sys.executable, "-m", "edge_runtime.cli", "run", "--audio", sound, "--out", out]
    if from_its_start:
        termios.tcflow(theirs, termios.TCOOFF)  # Ctrl-S
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as run:
        assert comes((out / "conversation.wav").exists)
        if not from_its_start:
            assert os.read(ours, 9999)
            termios.tcflow(theirs, termios.TCOOFF)
        time.sleep(6)  # it has answered by then, and tells so in vain
        run.send_signal(signal.SIGTERM)
        ended = comes((out / "recording.mcap").exists)
        termios.tcflow(theirs, termios.TCOON)
        assert run.wait(30) == 0 and ended
    os.close(ours)
    os.close(theirs)


def comes(there: Callable[[], object], within_s: float = 30.0) -> bool:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if there():
            return True
        time.sleep(0.1)
    return False


@needs_espeak
def test_a_terminal_that_has_not_every_letter_is_written_to(tmp_path: Path) -> None:
    sound = spoken(tmp_path / "Küche.wav")
    ascii_alone = {"PYTHONIOENCODING": "ascii"}
    run = edge("run", "--audio", sound, "--speed", "max", cwd=tmp_path, environment=ascii_alone)
    assert run.returncode == 0, run.stderr
    assert "K?che.wav" in run.stdout


@needs_espeak
def test_the_phrases_that_config_prints_are_taken(tmp_path: Path) -> None:
    printed = edge("config", "--phrases", cwd=tmp_path).stdout
    written(tmp_path / "mine.yaml", printed)
    config = written(tmp_path / "edge.yaml", "voice: {phrases: mine.yaml}")
    sound = spoken(tmp_path / "talk.wav")
    run = edge("run", "--config", config, "--audio", sound, "--speed", "max", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "mine.yaml" not in run.stderr, "an act has no words in it"
