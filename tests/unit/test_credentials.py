"""Secrets come from files, and from systemd's credentials where there are some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_runtime.commands import common
from edge_runtime.credentials import located, secret
from edge_runtime.errors import ConfigError


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def test_a_relative_name_is_a_credential_of_the_service(credentials: Path) -> None:
    (credentials / "broker.password").write_text("opensesame\n")
    assert secret(Path("broker.password")) == "opensesame"


def test_a_folder_of_credentials_is_looked_into_as_the_units_load_it(credentials: Path) -> None:
    (credentials / "edge_broker.password").write_text("opensesame\n")
    assert secret(Path("broker.password")) == "opensesame"


def test_other_names_are_files_as_ever(credentials: Path, tmp_path: Path) -> None:
    (credentials / "password").write_text("not this one")
    (tmp_path / "password").write_text("this one")
    assert secret(tmp_path / "password") == "this one"
    assert located(Path("elsewhere")) == Path("elsewhere")


def test_without_systemd_a_relative_name_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("password").write_text("opensesame")
    assert secret(Path("password")) == "opensesame"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two\nlines", b"\xff\xfe"])
def test_what_is_no_secret_is_refused_and_not_shown(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    with pytest.raises(ConfigError, match="password") as refused:
        secret(tmp_path / "password")
    assert "two" not in str(refused.value)


@pytest.mark.parametrize(
    ("of_the_service", "may_look"), [(True, True), (True, False), (False, True)]
)
def test_a_command_finds_the_secrets_of_the_service_whose_configuration_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_the_service: bool, may_look: bool
) -> None:
    monkeypatch.setattr(common, "CONFIGS", tmp_path / "etc")
    monkeypatch.setattr(common, "CREDENTIALS", tmp_path / "etc" / "credentials")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "")  # to be put back
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    if may_look:
        (tmp_path / "etc" / "credentials").mkdir(parents=True)
        (tmp_path / "etc" / "credentials" / "password").write_text("opensesame")
    common.with_credentials_of_the_service(
        tmp_path / ("etc" if of_the_service else "home") / "edge.yaml"
    )
    found = located(Path("password")) == tmp_path / "etc" / "credentials" / "password"
    assert found == ("CREDENTIALS_DIRECTORY" in os.environ) == (of_the_service and may_look)
