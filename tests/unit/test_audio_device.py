"""Which device is meant by a name, a serial number or a USB path; what is asked of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_runtime.errors import SourceError
from edge_runtime.sources import audio_device
from edge_runtime.sources.audio_device import (
    AudioDevice,
    AudioKind,
    choose,
    no_rights,
    usb_identity,
)
from edge_runtime.sources.sound_plan import StreamCount, Wanted, find, plans


def device(
    name: str,
    kind: AudioKind = "microphone",
    index: int = 0,
    channels: int = 1,
    rate_hz: int = 48_000,
    default: bool = False,
    serial: str = "",
    usb_path: str = "",
) -> AudioDevice:
    return AudioDevice(kind, index, name, channels, rate_hz, default, serial, usb_path)


DEVICES = [
    device("HDA Intel: ALC257 (hw:0,0)", index=0),
    device("ReSpeaker 4 Mic Array", index=1),
    device("ReSpeaker Lite", index=2),
    device("default", index=3, default=True),
    device("HDA Intel: ALC257 (hw:0,0)", "loudspeaker", index=0),
    device("USB Speaker", "loudspeaker", index=5),
    device("USB Speaker Pro", "loudspeaker", index=6),
]


class TestChoosing:
    def test_without_a_name_it_is_the_default(self) -> None:
        assert choose(DEVICES, "microphone", None).index == 3

    def test_without_a_default_it_is_the_first(self) -> None:
        assert choose(DEVICES, "loudspeaker", None).index == 0

    @pytest.mark.parametrize("wanted", ["4 mic", "respeaker 4", "MIC ARRAY"])
    def test_a_part_of_the_name_in_any_case(self, wanted: str) -> None:
        assert choose(DEVICES, "microphone", wanted).index == 1

    def test_an_exact_name_is_not_ambiguous(self) -> None:
        assert choose(DEVICES, "loudspeaker", "usb speaker").index == 5

    def test_an_ambiguous_name_lists_what_it_fits(self) -> None:
        with pytest.raises(SourceError) as caught:
            choose(DEVICES, "microphone", "respeaker")
        assert "several microphones: 'ReSpeaker 4 Mic Array', 'ReSpeaker Lite'" in str(caught.value)

    def test_an_unknown_name_lists_what_there_is(self) -> None:
        with pytest.raises(SourceError) as caught:
            choose(DEVICES, "loudspeaker", "Jabra")
        assert "No loudspeaker is called 'Jabra'" in str(caught.value)
        assert "'USB Speaker', 'USB Speaker Pro'" in str(caught.value)
        assert "ReSpeaker" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["microphone", "loudspeaker"])
    def test_none_at_all_has_a_remedy(self, kind: AudioKind) -> None:
        with pytest.raises(SourceError, match=rf"There is no {kind}.*Connect one.*--audio FILE"):
            choose([], kind, None)

    def test_two_of_a_kind_are_told_apart_by_serial_number_or_place(self) -> None:
        twins = [
            device("USB Mic", index=0, serial="A100", usb_path="1-2"),
            device("USB Mic", index=1, serial="A101", usb_path="1-3.1"),
        ]
        assert choose(twins, "microphone", "a101").index == 1
        assert choose(twins, "microphone", "1-2").index == 0

    def test_where_no_device_may_be_opened_the_remedy_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audio_device, "no_rights", lambda: True)
        with pytest.raises(SourceError, match=r"may not open .* sudo usermod -aG audio"):
            choose([], "microphone", None)


class TestUsb:
    @pytest.fixture
    def sysfs(self, tmp_path: Path) -> Path:
        """Card 2 on USB, as the kernel lays it out; card 0 on the board."""
        usb = tmp_path / "devices" / "usb1" / "1-2" / "1-2.3"
        (usb / "1-2.3:1.0" / "sound" / "card2").mkdir(parents=True)
        (usb / "idVendor").write_text("2886\n")
        (usb / "serial").write_text("ABC123\n")
        (tmp_path / "devices" / "pci0" / "sound" / "card0").mkdir(parents=True)
        for card, real in (("card2", usb / "1-2.3:1.0"), ("card0", tmp_path / "devices/pci0")):
            (tmp_path / card).symlink_to(real / "sound" / card)
            (real / "sound" / card / "device").symlink_to(real)
        return tmp_path

    def test_serial_number_and_path(self, sysfs: Path) -> None:
        assert usb_identity("ReSpeaker: USB Audio (hw:2,0)", sysfs) == ("ABC123", "1-2.3")

    @pytest.mark.parametrize("name", ["HDA Intel (hw:0,0)", "Ghost (hw:7,0)", "default"])
    def test_of_others_there_is_none(self, sysfs: Path, name: str) -> None:
        assert usb_identity(name, sysfs) == ("", "")


class TestRights:
    def test_a_machine_without_sound_has_no_problem_of_rights(self, tmp_path: Path) -> None:
        assert not no_rights(tmp_path / "snd")
        assert not no_rights(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
    def test_devices_of_others(self, tmp_path: Path) -> None:
        (tmp_path / "pcmC0D0c").touch(mode=0o000)
        assert no_rights(tmp_path)

    def test_one_that_may_be_opened_is_enough(self, tmp_path: Path) -> None:
        (tmp_path / "pcmC0D0c").touch()
        assert not no_rights(tmp_path)


def tried(
    microphone: AudioDevice | None,
    loudspeaker: AudioDevice | None,
    channels: int = 1,
    streams: StreamCount = "auto",
) -> list[tuple[bool, int, int]]:
    wanted = Wanted(channels=channels, streams=streams)
    return [
        (plan.together, plan.rate_hz, plan.channels)
        for plan in plans(microphone, loudspeaker, wanted, 10.0)
    ]


class TestPlans:
    def test_one_device_shares_a_stream_at_16_khz_if_it_takes_that(self) -> None:
        both = device("m"), device("m", "loudspeaker")
        assert tried(*both) == [
            (True, 16_000, 1),
            (True, 48_000, 1),
            (False, 16_000, 1),
            (False, 48_000, 1),
        ]

    def test_two_devices_have_two_clocks_and_two_streams(self) -> None:
        both = device("m", rate_hz=44_100), device("l", "loudspeaker")
        assert {together for together, _, _ in tried(*both)} == {False}
        assert [rate for _, rate, _ in tried(*both)] == [16_000, 44_100, 48_000]

    def test_the_configuration_may_insist(self) -> None:
        both = device("m"), device("m", "loudspeaker")
        assert {together for together, _, _ in tried(*both, streams="two")} == {False}
        apart = device("m"), device("l", "loudspeaker")
        assert {together for together, _, _ in tried(*apart, streams="one")} == {True}

    def test_stereo_is_tried_where_there_is_no_mono(self) -> None:
        both = device("m", channels=2), device("m", "loudspeaker", channels=2)
        assert tried(*both)[:2] == [(True, 16_000, 1), (True, 16_000, 2)]

    def test_an_array_needs_as_many_loudspeakers_to_share_a_stream(self) -> None:
        """PyAudio opens both ways with one number of channels."""
        array = device("m", channels=6), device("m", "loudspeaker", channels=2)
        assert tried(*array, channels=6) == [(False, 16_000, 6), (False, 48_000, 6)]

    def test_one_end_alone(self) -> None:
        assert tried(None, device("l", "loudspeaker"))[0] == (False, 16_000, 1)
        assert tried(None, None) == []

    def test_a_loudspeaker_alone_needs_no_channels_of_an_array(self) -> None:
        stereo = device("l", "loudspeaker", channels=2)
        assert tried(None, stereo, channels=4) == [(False, 16_000, 1), (False, 48_000, 1)]

    def test_a_microphone_with_too_few_channels_is_refused(self) -> None:
        with pytest.raises(SourceError, match=r"'m' has only 1 of the 4 channels"):
            find([device("m")], "microphone", Wanted(channels=4))
