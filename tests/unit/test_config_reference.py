"""All that can be configured, as it is printed: complete, true, and a configuration itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from edge_runtime.background.worker_config import WorkerConfig
from edge_runtime.commands.config import renewed
from edge_runtime.config import Config, load
from edge_runtime.config_reference import flow, reference
from edge_runtime.errors import ConfigError
from edge_runtime.voice.phrases import Phrases, shipped_text

KINDS = [Config, WorkerConfig]
Keys = tuple[str, ...]


def in_schema(schema: Any, root: Any, before: Keys = ()) -> Iterator[Keys]:
    """The way to each key; `*` stands for a name that is free."""
    for choice in schema.get("anyOf", [schema]):
        found = root["$defs"][choice["$ref"].split("/")[-1]] if "$ref" in choice else choice
        for name, inner in found.get("properties", {}).items():
            yield (*before, name)
            yield from in_schema(inner, root, (*before, name))
        for inner in found.get("patternProperties", {}).values():
            yield from in_schema(inner, root, (*before, "*"))


FREE = {"env", "extra_body"}
"""Keys of which only others know what may stand in them."""


def without_marks(text: str) -> str:
    """Every key set."""
    return re.sub(r"(?m)^( *)#(?=\w+:)", r"\1", text)


def values(tree: object, before: Keys = ()) -> Iterator[tuple[Keys, object]]:
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield (*before, name), inner
            yield from values(inner, (*before, name))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_loads_as_the_defaults(kind: type[BaseModel], tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(reference(kind), encoding="utf-8")
    assert load(path, kind) == kind()


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_the_schema_is_printed_in_its_order(kind: type[BaseModel]) -> None:
    schema = kind.model_json_schema()
    free = {"lamp_on", "house"}
    given = yaml.safe_load(without_marks(reference(kind)))
    printed = [tuple("*" if part in free else part for part in way) for way, _ in values(given)]
    left = [way for way in printed if way[-1] != "*" and not FREE & set(way[:-1])]
    assert left == list(in_schema(schema, schema))


def test_the_nested_keys_are_among_them() -> None:
    device, worker = Config.model_json_schema(), WorkerConfig.model_json_schema()
    assert ("actions", "*", "valid_ms") in in_schema(device, device)
    assert ("agent", "mcp_servers", "*", "token_file") in in_schema(worker, worker)


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_can_be_set(kind: type[BaseModel]) -> None:
    for way, value in values(yaml.safe_load(without_marks(reference(kind)))):
        if isinstance(value, dict) and way[-1] not in FREE:
            continue  # a section: not all of its keys go together
        alone: Any = value
        for part in reversed(way):
            alone = {part: alone}
        try:
            kind.model_validate(alone)
        except ValidationError as error:  # of another key that it needs
            told = [problem["loc"][: len(way)] for problem in error.errors()]
            assert way not in told, (way, value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_explained(kind: type[BaseModel]) -> None:
    text = reference(kind)
    assert "None [" not in text
    lines = text.splitlines()
    for line, above in zip(lines[1:], lines, strict=False):
        if re.match(r" *#?\w+: ", line):
            assert above.endswith("]") and above.lstrip().startswith("# "), line


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (
            "engine.threads",
            "engine:\n"
            "  # Of the engine; measure before raising it. [whole number, 1 to 64]\n"
            "  threads: 1\n",
        ),
        (
            "recording.path",
            "recording:\n"
            "  # Write an MCAP recording of the run here. [path]\n"
            "  #path: /var/lib/edge-runtime/last.mcap\n",
        ),
        (
            "actions.valid_ms",
            "#actions:\n"
            "  #lamp_on:\n"
            "    # Not to be begun later. [number, above 0, up to 60000; default: 2000.0]\n"
            "    #valid_ms: 2000.0\n",
        ),
    ],
)
def test_a_key_is_printed_with_what_it_belongs_to(name: str, printed: str) -> None:
    assert reference(Config, name) == printed


def test_a_section_is_printed_as_in_the_whole() -> None:
    part = reference(Config, "decision")
    assert part.startswith("decision:\n  # -1 patient .. 1 quick")
    assert f"\n\n{part}\n" in reference(Config)


@pytest.mark.parametrize("name", ["actions.wave.valid_ms", "actions.*.valid_ms"])
def test_a_free_name_may_stand_in_what_is_asked_for(name: str) -> None:
    assert reference(Config, name) == reference(Config, "actions.valid_ms")
    assert reference(Config, "actions.*") == reference(Config, "actions")
    for action in ("lamp_on", "turn_right", "forward"):
        assert reference(Config, f"actions.{action}") == reference(Config, "actions")
    server = reference(WorkerConfig, "agent.mcp_servers.house")
    assert server == reference(WorkerConfig, "agent.mcp_servers")
    env = "agent.mcp_servers.env"
    assert reference(WorkerConfig, "agent.mcp_servers.house.env") == reference(WorkerConfig, env)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("decison", "decison: unknown key. Did you mean `decision`? Known here: actions, audio,"),
        ("voice.rate", "voice.rate: unknown key. Did you mean `rate_wpm`? Known here: engine,"),
        ("eagerness", "Did you mean `decision.eagerness`?"),
        ("actions.wave.topic", "Did you mean `ros_topic`?"),
        ("actions.phrase", "Did you mean `phrases`?"),
        ("actions.", "unknown key"),
        ("actions.wave.wave", "actions.wave.wave: unknown key. Known here: "),
        ("decision.eagerness.much", "Known here: eagerness."),
        ("", "unknown key"),
    ],
)
def test_an_unknown_name_is_refused_with_what_may_be_meant(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        reference(Config, name)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "value", ["a: b", "two\nlines", "***", "on", "", [1, "x"], {"a": "1"}, 1.5]
)
def test_any_value_is_one_line_of_yaml(value: object) -> None:
    assert "\n" not in flow(value)
    assert yaml.safe_load(f"key: {flow(value)}") == {"key": value}


def test_the_document_has_the_reference_of_today(repository: Path) -> None:
    path = repository / "docs" / "configuration.md"
    assert path.read_text("utf-8") == renewed(path.read_text("utf-8")), (
        "The schema has changed. Renew docs/configuration.md with: "
        ".venv/bin/edge-runtime config --document docs/configuration.md"
    )


def test_the_printed_phrases_can_be_given_as_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my_phrases.yaml"
    path.write_text(shipped_text().replace("One moment.", "Just a second."), encoding="utf-8")
    for language, act in (("en", "working"), ("de", "greet")):
        own = Phrases.load(path, language, "Robin")
        shipped = Phrases.load(None, language, "Robin")
        said, usual = ({from_.words(act) for _ in range(3)} for from_ in (own, shipped))
        assert len(said) == 3
        assert said ^ usual == ({"One moment.", "Just a second."} if language == "en" else set())
