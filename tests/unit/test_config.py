"""A configuration is read as written, or refused with the key, the place and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.background.worker_config import WorkerConfig
from edge_runtime.config import ActionConfig, Config, load, load_config
from edge_runtime.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "edge.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    said = str(refused.value)
    assert str(path) in said
    return said


class TestReading:
    def test_without_a_file_the_defaults_run(self) -> None:
        config = load_config(None)
        assert config.audio.source == "microphone"
        assert config.video.source is None
        assert config.engine.folder is None
        assert config.recording.path is None
        assert config.actions == {}

    @pytest.mark.parametrize("text", ["", "\n\n", "# audio:\n#   volume: 0.5\n", "---\n", "{}"])
    def test_an_empty_file_means_the_defaults(self, tmp_path: Path, text: str) -> None:
        assert load_config(written(tmp_path, text)) == Config()

    def test_what_is_written_is_what_runs(self, tmp_path: Path) -> None:
        text = """
            device: {name: Küche, language: de}
            audio: {source: talk.wav, volume: 0.25}
            video: {source: 2}
            engine: {folder: models/mine, threads: 2}
            decision: {eagerness: -0.5}
            delegation: {broker: "mqtt://lan"}
            actions:
              wave: {ros_topic: /arm/wave, mqtt_topic: robot/wave}
              nod: {}
        """
        config = load_config(written(tmp_path, text))
        assert (config.device.name, config.device.language) == ("Küche", "de")
        assert (config.audio.source, config.audio.volume) == ("talk.wav", 0.25)
        assert config.video.source == 2
        assert (config.engine.folder, config.engine.threads) == (tmp_path / "models/mine", 2)
        assert config.decision.eagerness == -0.5
        assert config.actions["wave"].ros_topic == "/arm/wave"
        assert config.actions["wave"].mqtt_topic == "robot/wave"
        assert config.actions["nod"].ros_topic is None

    def test_the_configuration_in_the_readme_is_one(self, repository: Path, tmp_path: Path) -> None:
        (text,) = (
            block.partition("```")[0]
            for block in (repository / "README.md").read_text("utf-8").split("```yaml\n")
            if block.startswith("device:")
        )
        config = load_config(written(tmp_path, text))
        assert config.device.name == "kiosk-3"
        named = (config.voice.phrases, config.voice.model, config.engine.folder)
        assert named == (None, None, None), "who copies it has no such file"

    def test_what_is_not_written_keeps_its_default(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, "audio: {volume: 0.5}"))
        assert config.audio.source == Config().audio.source
        assert config.voice == Config().voice

    def test_it_cannot_be_changed_afterwards(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load_config(None).audio.volume = 0.5  # type: ignore[misc]

    @pytest.mark.parametrize("source", ["0", "'0'", "front", "clips/frames"])
    def test_a_camera_may_be_a_number_or_a_name(self, tmp_path: Path, source: str) -> None:
        config = load_config(written(tmp_path, f"video: {{source: {source}}}"))
        assert config.video.source == {"0": 0, "'0'": "0"}.get(source, source)


class TestFiles:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        said = refusal(tmp_path / "none.yaml")
        assert "There is no configuration file" in said
        assert "Give its path, or none for the defaults" in said

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "cannot be read" in refusal(tmp_path)

    def test_a_file_that_is_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.yaml"
        path.write_bytes(b"\xff\xd8\xff\xe0 a photograph")
        assert "cannot be read: 'utf-8'" in refusal(path)

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("audio:\n  source: [1\n", "line 3, column 1"),
            ("audio:\n  volume: 1\n source: x\n", "line 3, column 2"),
            ("audio:\n\tvolume: 1\n", "line 2, column 1"),
        ],
        ids=["bracket", "indentation", "tabulator"],
    )
    def test_broken_yaml_is_shown_by_line(self, tmp_path: Path, text: str, place: str) -> None:
        assert f"is not valid YAML: {place}: " in refusal(written(tmp_path, text))

    def test_yaml_cannot_run_code(self, tmp_path: Path) -> None:
        ran = tmp_path / "ran"
        text = f"device: {{name: !!python/object/apply:os.mkdir ['{ran}']}}"
        assert "line 1, column 16" in refusal(written(tmp_path, text))
        assert not ran.exists()

    def test_an_impossible_date(self, tmp_path: Path) -> None:
        assert "month must be" in refusal(written(tmp_path, "device: {name: 2024-13-45}"))

    @pytest.mark.parametrize(
        ("text", "kind"), [("- audio", "list"), ("audio", "str"), ("5", "int")]
    )
    def test_a_file_without_sections(self, tmp_path: Path, text: str, kind: str) -> None:
        assert f"must be a mapping of sections, not a {kind}" in refusal(written(tmp_path, text))


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("text", "key", "meant"),
        [
            ("adio: {}", "adio", "audio"),
            ("audio: {volum: 1}", "audio.volum", "volume"),
            ("voice: {rate_wmp: 160}", "voice.rate_wmp", "rate_wpm"),
            ("actions: {wave: {ros_topc: /w}}", "actions.wave.ros_topc", "ros_topic"),
        ],
    )
    def test_a_misspelt_key_is_named_with_the_right_one(
        self, tmp_path: Path, text: str, key: str, meant: str
    ) -> None:
        assert f"  {key}: unknown key. Did you mean `{meant}`?" in refusal(written(tmp_path, text))

    @pytest.mark.parametrize(
        ("text", "key", "known"),
        [
            ("xyzzy: 1", "xyzzy", ", ".join(sorted(Config.model_fields))),
            ("device: {xyzzy: 1}", "device.xyzzy", "language, name"),
            (
                "actions: {nod: {xyzzy: 1}}",
                "actions.nod.xyzzy",
                ", ".join(sorted(ActionConfig.model_fields)),
            ),
        ],
    )
    def test_a_strange_key_is_named_with_all_that_are_known(
        self, tmp_path: Path, text: str, key: str, known: str
    ) -> None:
        assert f"  {key}: unknown key. Known here: {known}." in refusal(written(tmp_path, text))

    def test_a_known_key_in_the_wrong_section(self, tmp_path: Path) -> None:
        assert "  video.volume: unknown key." in refusal(written(tmp_path, "video: {volume: 1}"))


class TestValues:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("audio: {volume: loud}", "audio.volume: Input should be a valid number"),
            ("audio: {volume: 1.5}", "audio.volume: Input should be less than or equal to 1"),
            ("audio: {volume: -0.1}", "audio.volume: Input should be greater than or equal to 0"),
            ("audio: {volume: .nan}", "audio.volume: Input should be less than or equal to 1"),
            ("audio: microphone", "audio: Input should be a valid dictionary"),
            ("device: {language: no}", "device.language: Input should be a valid string"),
            (
                "device: {language: de_DE}",
                "device.language: Value error, no tag of a language; write it as de, de-AT or gsw",
            ),
            ("device: {name: ''}", "device.name: String should have at least 1 character"),
            ("video: {max_age_ms: 0}", "video.max_age_ms: Input should be greater than 0"),
            ("engine: {backend: onxx}", "engine.backend: Input should be 'onnx'"),
            ("engine: {threads: 0}", "engine.threads: Input should be greater than or equal to 1"),
            ("engine: {threads: 1.5}", "engine.threads: Input should be a valid integer"),
            ("engine: {folder: 7}", "engine.folder: Input is not a valid path"),
            ("decision: {eagerness: 2}", "decision.eagerness: Input should be less than or equal"),
            (
                "voice: {rate_wpm: 20}",
                "voice.rate_wpm: Input should be greater than or equal to 80",
            ),
            (
                "background: {deadline_s: 0}",
                "background.deadline_s: Input should be greater than 0",
            ),
            ("actions: [wave]", "actions: Input should be a valid dictionary"),
            ("actions: {wave: {ros_topic: 5}}", "actions.wave.ros_topic: Input should be a valid"),
            ("actions: {Lamp on: {}}", "actions.Lamp on"),
            (
                "actions: {wave: {mqtt_topic: a/+/b}}",
                "actions.wave.mqtt_topic: String should match",
            ),
            ("actions: {wave: {mqtt_topic: ''}}", "actions.wave.mqtt_topic: String should match"),
            (
                "actions: {come: {ros_topic: cmd_vel, forward_m_s: 0.2}}",
                "actions.come: Value error, `forward_m_s` needs `ros_type: geometry_msgs/Twist`, "
                "not std_msgs/String",
            ),
            (
                "actions: {go_on: {ros_topic: lock, data: false}}",
                "actions.go_on: Value error, `data` needs `ros_type: std_msgs/Bool`",
            ),
            (
                "actions: {look_at: {ros_topic: look, ros_type: std_msgs/Bool, height_m: 1.0}}",
                "actions.look_at: Value error, `height_m` needs "
                "`ros_type: geometry_msgs/PointStamped`",
            ),
            (
                "actions: {come: {ros_type: geometry_msgs/Twist}}",
                "actions.come: Value error, `ros_type` needs `ros_topic`",
            ),
            (
                "actions: {come: {ros_topic: v, ros_type: geometry_msgs/Twist, for_s: 0}}",
                "actions.come.for_s: Input should be greater than or equal to 0.1",
            ),
            (
                "actions: {stop_motion: "
                "{ros_topic: v, ros_type: geometry_msgs/Twist, forward_m_s: 0.2, for_s: 1.0}}",
                "actions: Value error, `stop_motion` stops: take for_s, forward_m_s out of it",
            ),
            ("http: {metrics: some}", "http.metrics: Input should be a valid boolean"),
            (
                "recording: {frames: some}",
                "recording.frames: Input should be True, False or 'model'",
            ),
            ("loop: {fade_ms: 50}", "loop.fade_ms: Input should be less than or equal to 20"),
        ],
    )
    def test_a_wrong_value_is_named_with_what_is_allowed(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        assert f"\n  {said}" in refusal(written(tmp_path, text))

    def test_what_was_given_is_repeated(self, tmp_path: Path) -> None:
        said = refusal(written(tmp_path, "audio: {volume: loud}"))
        assert said.endswith("given: 'loud'.")

    @pytest.mark.parametrize(
        "server",
        [
            "{command: x, env: {PIN: 4711}}",
            "{command: x, env: {PIN: true}, args: [--pin, 4711]}",
            "{command: [x, 4711]}",
            "{url: [4711]}",
            "{url: 'http://h', token_file: 4711}",
            "{command: x, url: 'https://h/4711'}",
            "{command: x, env: {PIN: '4711'}, start_timeout_s: 0, url: 'http://h'}",
        ],
    )
    def test_what_may_be_a_secret_is_not_repeated(self, tmp_path: Path, server: str) -> None:
        path = written(tmp_path, f"agent: {{model: 'x:y', mcp_servers: {{house: {server}}}}}")
        with pytest.raises(ConfigError) as refused:
            load(path, WorkerConfig)
        assert "agent.mcp_servers.house" in str(refused.value)
        assert "***" in str(refused.value) or "given: 0" in str(refused.value)
        assert "4711" not in str(refused.value)

    def test_all_wrong_keys_are_told_at_once(self, tmp_path: Path) -> None:
        text = "audio: {volume: 3}\nvoice: {speed: 1}\nloop: {fade_ms: -1}\n"
        lines = refusal(written(tmp_path, text)).splitlines()[1:]
        assert [line.split(":")[0].strip() for line in lines] == [
            "audio.volume",
            "voice.speed",
            "loop.fade_ms",
        ]


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("voice:\n  pitch: 40\n  pitch: 60\n")
    with pytest.raises(ConfigError, match=r"line 3.*`pitch` is given twice"):
        load_config(path)


@pytest.mark.parametrize(
    "text",
    [
        *("? [a]\n: b", "? &a [*a]\n: b", "voice: !!map [a]", "voice: !!set [a]"),
        *("http: {port: !!int ''}", "http: {metrics: !!bool x}", "device: {name: !!timestamp x}"),
        *("device: {name: 2024-13-45}", 'device: {name: "\\U99999999"}', "[" * 3000, "{" * 3000),
    ],
)
def test_yaml_that_means_nothing_is_refused_clearly(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_config(path)


def test_a_few_lines_that_stand_for_gigabytes_are_refused_in_few_words(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*rows, "device: *a11", "delegation: {keep: *a11}"]))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len(str(caught.value)) < 10_000


def test_an_empty_section_is_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("voice:\n#  pitch: 40\n")
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("text", "key"),
    [("audio: {volume: yes}", "audio.volume"), ("video: {source: [1]}", "video.source")],
)
def test_a_value_of_another_type_is_refused_in_one_line(
    tmp_path: Path, text: str, key: str
) -> None:
    path = tmp_path / "type.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len([line for line in str(caught.value).splitlines() if key in line]) == 1


@pytest.mark.parametrize("key", ["metrics", "live"])
def test_pages_without_a_port_are_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "edge.yaml").write_text(f"http: {{{key}: true}}")
    with pytest.raises(ConfigError, match=rf"http: .*`{key}` needs a `port`"):
        load_config(tmp_path / "edge.yaml")


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "localhost:3000", "http://a/b", "http://*"),
        *("http://:80", "http://a:b", "http://[::1", "http://a:70000"),
    ],
)
def test_only_an_origin_of_web_pages_may_read_the_events(tmp_path: Path, origin: str) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text("http: {port: 1, live: true, origins: ['http://localhost:3000']}")
    assert load_config(path).http.origins == ["http://localhost:3000"]
    path.write_text(f"http: {{port: 1, live: true, origins: ['{origin}']}}")
    with pytest.raises(ConfigError, match=r"http\.origins"):
        load_config(path)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("http://LOCALHOST:80", "http://localhost"),
        ("https://Kiosk.lan:443", "https://kiosk.lan"),
        ("https://kiosk.lan:80", "https://kiosk.lan:80"),
        ("http://[FE80::1]:80", "http://[fe80::1]"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(tmp_path: Path, given: str, sent: str) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(f"http: {{port: 1, live: true, origins: ['{given}']}}")
    assert load_config(path).http.origins == [sent]


class TestSecrets:
    @pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
    def test_a_secret_that_everybody_can_read_is_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
    ) -> None:
        secret = tmp_path / "password"
        secret.write_text("geheim")
        secret.chmod(mode)
        (tmp_path / "edge.yaml").write_text(f"delegation: {{user: kiosk, password_file: {secret}}}")
        load_config(tmp_path / "edge.yaml")
        assert ("chmod 600" in caplog.text) == warned
        assert "geheim" not in caplog.text

    @pytest.mark.parametrize(
        ("text", "holds"),
        [
            ("video: {source: 'rtsp://me:geheim@cam/live'}", True),
            ("video: {source: 'rtsp://cam/live'}", False),
        ],
    )
    @pytest.mark.parametrize(("mode", "open_to_all"), [(0o640, False), (0o644, True)])
    def test_a_password_in_a_configuration_that_everybody_can_read_is_warned_of(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        text: str,
        holds: bool,
        mode: int,
        open_to_all: bool,
    ) -> None:
        path = tmp_path / "edge.yaml"
        path.write_text(text)
        path.chmod(mode)
        for overrides in (None, {"voice.rate_wpm": 150}):
            caplog.clear()
            load_config(path, overrides)
            assert (f"can read {path}" in caplog.text) == (holds and open_to_all)
            assert "geheim" not in caplog.text

    def test_a_configuration_that_everybody_can_change_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.yaml"
        path.write_text("device: {name: kiosk}")
        path.chmod(0o646)
        with pytest.raises(ConfigError, match="chmod o-w"):
            load_config(path)


class TestBroker:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("home_assistant: {enabled: true}", "home_assistant.enabled needs a broker"),
            ("actions: {lamp: {mqtt_topic: l/set}}", "actions.lamp.mqtt_topic needs a broker"),
            ("delegation: {password_file: secret}", "`password_file` needs `user`"),
            *(
                (
                    f"device: {{name: {name}}}\ndelegation: {{broker: 'mqtt://lan'}}\n"
                    "home_assistant: {enabled: true}",
                    f"device.name '{name}' cannot be in Home Assistant's topics: use 1 to 64",
                )
                for name in ("a.b", "a/b", "Küche", "x" * 65)
            ),
        ],
    )
    def test_what_cannot_run_is_refused_when_it_is_read(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        assert said in refusal(written(tmp_path, text))

    @pytest.mark.parametrize(
        "text",
        [
            "delegation: {broker: 'mqtt://lan'}\nactions: {lamp: {mqtt_topic: l/set}}",
            "home_assistant: {enabled: true}\ndelegation: {broker: 'mqtt://lan'}",
            "device: {name: a.b}\nhome_assistant: {enabled: false}",
            "device: {name: Küche}\nactions: {wave: {ros_topic: arm}}",
        ],
    )
    def test_what_can_run_is_read(self, tmp_path: Path, text: str) -> None:
        load_config(written(tmp_path, text))

    def test_a_broker_that_is_wrong_itself_is_told_once(self, tmp_path: Path) -> None:
        said = refusal(
            written(tmp_path, "delegation: {broker: 7}\nhome_assistant: {enabled: true}")
        )
        assert "delegation.broker" in said and "needs a broker" not in said


class TestPhrases:
    @pytest.mark.parametrize(
        ("phrases", "sentence"),
        [
            (("turn on the lamp", "turn on the lamp"), "turn on the lamp"),
            (("Turn on the [kitchen] lamp", "(turn | switch) on the lamp"), "turn on the lamp"),
        ],
    )
    def test_a_sentence_of_two_actions_is_refused_with_both(
        self, tmp_path: Path, phrases: tuple[str, str], sentence: str
    ) -> None:
        one, other = phrases
        said = refusal(
            written(
                tmp_path,
                f"actions:\n  first: {{phrases: ['{one}']}}\n  between: {{phrases: [hello]}}\n"
                f"  last: {{phrases: [goodbye, '{other}']}}",
            )
        )
        assert f'"{sentence}" asks for first and for last' in said

    def test_what_one_action_has_twice_and_what_is_merely_alike_is_read(
        self, tmp_path: Path
    ) -> None:
        text = """actions:
            lamp_on: {phrases: ["turn on the lamp", "(turn | switch) on the lamp"]}
            lamp_off: {phrases: ["turn off the lamp", "turn on"]}
            dock: {}
        """
        load_config(written(tmp_path, text))


class TestOverrides:
    def test_they_stand_above_the_file(self, tmp_path: Path) -> None:
        path = written(tmp_path, "voice: {rate_wpm: 150, pitch: 40}\ndevice: {name: kiosk}")
        config = load_config(path, {"voice.rate_wpm": 180, "ros.frame_id": "head"})
        assert (config.voice.rate_wpm, config.voice.pitch) == (180, 40)
        assert (config.device.name, config.ros.frame_id) == ("kiosk", "head")

    def test_they_stand_alone_too(self) -> None:
        assert load_config(None, {"decision.eagerness": 1}).decision.eagerness == 1.0
        assert load_config(None, {}) == Config()

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"voice.rate_wpm": 9999}, "voice.rate_wpm: .*450; given: 9999"),
            ({"voice.rate": 1}, "voice.rate: unknown key. Did you mean `rate_wpm`"),
            ({"video.source": 1.5}, "video.source: a text or a number"),
            ({"ros.namespace": "a b"}, "ros.namespace: .*pattern"),
        ],
    )
    def test_a_bad_one_is_told_like_one_of_the_file(
        self, overrides: dict[str, object], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message) as told:
            load_config(None, overrides)
        assert str(told.value).startswith("parameters:")

    def test_they_do_not_hide_a_section_that_is_none(self, tmp_path: Path) -> None:
        path = written(tmp_path, "voice: loud")
        with pytest.raises(ConfigError, match=r"voice: .*given: 'loud'"):
            load_config(path, {"voice.pitch": 40})

    @pytest.mark.parametrize("name", ["/", "kiosk", "/robot/head", "a_1/b"])
    def test_a_namespace_is_one_of_ros(self, name: str) -> None:
        assert load_config(None, {"ros.namespace": name}).ros.namespace == name


class TestVideo:
    def test_a_camera_is_turned_and_cropped(self, tmp_path: Path) -> None:
        text = "video: {source: BRIO, rotate: 270, crop: [0, 0.1, 1, 0.9], frozen_s: 0}"
        video = load_config(written(tmp_path, text)).video
        assert (video.rotate, video.crop, video.frozen_s) == (270, [0.0, 0.1, 1.0, 0.9], 0.0)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("rotate: 45", "video.rotate"),
            ("crop: [0, 0, 1]", "video.crop"),
            ("crop: [0.5, 0, 0.5, 1]", "left < right"),
            ("crop: [0, 0, 640, 480]", "from 0 to 1"),
            ("frozen_s: -1", "video.frozen_s"),
        ],
    )
    def test_what_cannot_be_seen_is_refused(self, tmp_path: Path, text: str, words: str) -> None:
        assert words in refusal(written(tmp_path, f"video: {{{text}}}"))


NAMES = """
audio: {echo_file: echo.yaml, array: shelf.yaml}
engine: {folder: models/mine}
voice: {engine: piper, model: amy.onnx, phrases: words.yaml}
delegation: {ca_file: ca.pem, cert_file: device.pem, key_file: device.key, outbox: out.db}
recording: {path: last.mcap}
"""


class TestRelativeNames:
    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The working folder, which is not the configuration's."""
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        monkeypatch.chdir(folder)
        return folder

    def test_what_is_read_is_beside_the_configuration_and_what_is_written_is_not(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "device.key").write_text("a key")
        (tmp_path / "device.key").chmod(0o600)
        config = load_config(written(tmp_path, NAMES))
        assert config.audio.echo_file == tmp_path / "echo.yaml"
        assert config.audio.array == str(tmp_path / "shelf.yaml")
        assert config.engine.folder == tmp_path / "models/mine"
        assert config.voice.model == tmp_path / "amy.onnx"
        assert config.voice.phrases == tmp_path / "words.yaml"
        assert config.delegation.ca_file == tmp_path / "ca.pem"
        assert config.delegation.cert_file == tmp_path / "device.pem"
        assert config.delegation.key_file == tmp_path / "device.key"
        assert config.delegation.outbox == Path("out.db")
        assert config.recording.path == Path("last.mcap")

    def test_the_configuration_may_be_named_by_a_relative_path(self, tmp_path: Path) -> None:
        written(tmp_path, "voice: {phrases: ../words.yaml}")
        assert load_config(Path("../edge.yaml")).voice.phrases == (
            Path("../edge.yaml").absolute().parent / "../words.yaml"
        )

    def test_an_array_that_we_know_keeps_its_name(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, "audio: {array: respeaker_4}"))
        assert config.audio.array == "respeaker_4"

    def test_whole_paths_and_names_without_a_configuration_stay(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, "voice: {phrases: /srv/words.yaml}"))
        assert config.voice.phrases == Path("/srv/words.yaml")
        assert load_config(None, {"voice.phrases": "words.yaml"}).voice.phrases == Path(
            "words.yaml"
        )

    def test_parameters_beside_a_file_are_like_its_own(self, tmp_path: Path) -> None:
        config = load_config(written(tmp_path, ""), {"voice.phrases": "words.yaml"})
        assert config.voice.phrases == tmp_path / "words.yaml"

    def test_one_in_the_working_folder_alone_is_refused_with_both_places(
        self, tmp_path: Path, elsewhere: Path
    ) -> None:
        (elsewhere / "words.yaml").write_text("en: {}")
        said = refusal(written(tmp_path, "voice: {phrases: words.yaml}"))
        assert "voice.phrases: " in said
        assert f"there is no {tmp_path / 'words.yaml'}, only {elsewhere / 'words.yaml'}" in said

    def test_credentials_come_first_and_a_secret_that_is_nowhere_keeps_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = tmp_path / "credentials"
        given.mkdir()
        (given / "edge_ca.pem").write_text("ours")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
        text = "delegation: {ca_file: ca.pem, user: kiosk, password_file: mqtt-password}"
        delegation = load_config(written(tmp_path, text)).delegation
        assert delegation.ca_file == Path("ca.pem")
        assert delegation.password_file == Path("mqtt-password")

    def test_a_secret_beside_the_configuration_is_looked_at_as_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "password").write_text("geheim")
        (tmp_path / "password").chmod(0o644)
        load_config(written(tmp_path, "delegation: {user: kiosk, password_file: password}"))
        assert f"can read the secret {tmp_path / 'password'}: chmod 600 it" in caplog.text


class TestAddressOfTheBroker:
    @pytest.mark.parametrize("url", ["mqtt://lan", "mqtts://lan:8883", "mqtt://[::1]:1883"])
    def test_one_that_can_be(self, url: str) -> None:
        assert load_config(None, {"delegation.broker": url}).delegation.broker == url

    @pytest.mark.parametrize(
        "url", ["lan", "http://lan", "mqtt://", "mqtt://lan:x", "mqtt://lan:99999", "mqtt://[::1"]
    )
    def test_one_that_cannot(self, tmp_path: Path, url: str) -> None:
        said = refusal(written(tmp_path, f"delegation: {{broker: '{url}'}}"))
        assert "delegation.broker: Value error, it is no broker: use mqtt://HOST" in said
        assert f"given: '{url}'" in said

    @pytest.mark.parametrize("key", ["delegation.broker", "audio.volume"])
    def test_what_may_hold_a_password_is_not_shown(self, key: str) -> None:
        with pytest.raises(ConfigError) as told:
            load_config(None, {key: "mqtt://u:hunter2@lan"})
        assert "hunter2" not in str(told.value)
