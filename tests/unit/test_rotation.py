"""Recordings that never end are cut into files, and only old ones of ours are removed."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
from pydantic import ValidationError
from typing_extensions import Self

from edge_runtime.config import Recording as RecordingConfig
from edge_runtime.errors import RecordingError
from edge_runtime.health import HealthMonitor, State
from edge_runtime.interfaces import Sink
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.replay import read
from edge_runtime.sinks.recorder import Recorder
from edge_runtime.sinks.rotation import CHECK_EVERY_TURNS, RETRY_TURNS, Limits, Rotation

DAY_S = 86_400.0
KEEP_ALL = Limits(max_bytes=1e12, max_s=1e12, keep_bytes=1e12, keep_s=1e12)


class Clock:
    now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def recording(folder: Path) -> Path:
    return folder / "last.mcap"


def rotation(folder: Path, limits: Limits, clock: Clock) -> Rotation:
    return Rotation(lambda path: Recorder(path, {}), recording(folder), limits, clock)


def turns(sink: Sink, count: int, start: int = 0) -> None:
    noise = np.random.default_rng(start).standard_normal((2, TURN_SAMPLES)).astype(np.float32)
    for index in range(start, start + count):
        turn = MicroTurn(index, index * 200_000_000, noise)
        output = EngineOutput(index, {"floor": np.zeros(5, np.float32)})
        sink.publish(TurnRecord(turn, output, Decision(index, "listen"), Timings()))


def loud_turns(sink: Sink, count: int, start: int = 0) -> None:
    """Each of another noise: nothing of it can be compressed, 25 kB a turn."""
    for index in range(start, start + count):
        turns(sink, 1, index)


def recordings(folder: Path) -> list[Path]:
    return sorted(folder.glob("last*.mcap"))


def test_below_the_limits_it_is_one_file(tmp_path: Path, clock: Clock) -> None:
    with rotation(tmp_path, KEEP_ALL, clock) as sink:
        turns(sink, CHECK_EVERY_TURNS + 1)
    assert recordings(tmp_path) == [recording(tmp_path)]
    assert len(list(read(recording(tmp_path)))) == CHECK_EVERY_TURNS + 1


def test_a_full_file_is_followed_by_another_and_no_turn_is_lost(
    tmp_path: Path, clock: Clock
) -> None:
    limits = Limits(max_bytes=10_000, max_s=1e12, keep_bytes=1e12, keep_s=1e12)
    with rotation(tmp_path, limits, clock) as sink:
        turns(sink, 3 * CHECK_EVERY_TURNS)
    found = recordings(tmp_path)
    assert len(found) > 1
    indices = [one.turn.index for path in [*found[1:], found[0]] for one in read(path)]
    assert sorted(indices) == list(range(3 * CHECK_EVERY_TURNS))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
def test_an_old_file_is_followed_by_another_also_when_the_clock_was_set_back(
    tmp_path: Path, clock: Clock, jump_s: float
) -> None:
    limits = Limits(max_bytes=1e12, max_s=3600, keep_bytes=1e12, keep_s=1e12)
    with rotation(tmp_path, limits, clock) as sink:
        turns(sink, 5)
        clock.now_s += jump_s
        turns(sink, CHECK_EVERY_TURNS, start=5)
    assert len(recordings(tmp_path)) == 2


def test_the_recording_of_the_run_before_is_kept_beside(tmp_path: Path, clock: Clock) -> None:
    for count in (1, 2):
        with rotation(tmp_path, KEEP_ALL, clock) as sink:
            turns(sink, count)
    found = recordings(tmp_path)
    assert len(list(read(recording(tmp_path)))) == 2
    assert [len(list(read(path))) for path in found if path != recording(tmp_path)] == [1]


def test_a_run_that_is_refused_puts_nothing_aside(tmp_path: Path, clock: Clock) -> None:
    before = old(tmp_path, "last.mcap", DAY_S, 600, clock)
    with Recorder(recording(tmp_path), {}) as other:
        turns(other, 1)
        with pytest.raises(RecordingError, match=rf"written by process {os.getpid()}\."):
            rotation(tmp_path, KEEP_ALL, clock).__enter__()
        assert recordings(tmp_path) == [before]


def test_what_a_run_that_was_cut_off_left_counts_like_the_others(
    tmp_path: Path, clock: Clock
) -> None:
    old(tmp_path, "last.mcap.part", 3 * DAY_S, 600, clock)
    with rotation(tmp_path, KEEP_ALL, clock) as sink:
        turns(sink, 1)
    assert (tmp_path / "last-20231111T221320.mcap").stat().st_size == 600
    with rotation(tmp_path, Limits(1e12, 1e12, keep_bytes=1e12, keep_s=DAY_S), clock):
        assert not (tmp_path / "last-20231111T221320.mcap").exists()


def old(folder: Path, name: str, age_s: float, size: int, clock: Clock) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (clock.now_s - age_s, clock.now_s - age_s))
    return path


def test_old_ones_go_by_age(tmp_path: Path, clock: Clock) -> None:
    ancient = old(tmp_path, "last-20200101T000000.mcap", 8 * DAY_S, 10, clock)
    fresh = old(tmp_path, "last-20231114T000000.mcap", DAY_S, 10, clock)
    limits = Limits(1e12, 1e12, keep_bytes=1e12, keep_s=7 * DAY_S)
    with rotation(tmp_path, limits, clock):
        assert fresh.exists() and not ancient.exists()


def test_old_ones_go_by_size_the_oldest_first(tmp_path: Path, clock: Clock) -> None:
    first = old(tmp_path, "last-20231110T000000.mcap", 3 * DAY_S, 600, clock)
    second = old(tmp_path, "last-20231111T000000.mcap", 2 * DAY_S, 600, clock)
    with rotation(tmp_path, Limits(1e12, 1e12, keep_bytes=1000, keep_s=1e12), clock):
        assert second.exists() and not first.exists()


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_is_kept_holds_for_all_files_together_and_is_used(
    tmp_path: Path, clock: Clock
) -> None:
    limits = Limits(max_bytes=1e9, max_s=1e12, keep_bytes=8e6, keep_s=1e12)
    with rotation(tmp_path, limits, clock) as sink:
        for index in range(600):
            loud_turns(sink, 1, index)
            assert size(tmp_path) <= 8e6
    assert size(tmp_path) > 5e6
    assert [one.turn.index for one in read(recording(tmp_path))][-1] == 599


def test_the_newest_does_not_go_for_its_size_alone(tmp_path: Path, clock: Clock) -> None:
    large = old(tmp_path, "last.mcap", DAY_S, 5000, clock)
    with rotation(tmp_path, Limits(1e12, 1e12, keep_bytes=1000, keep_s=1e12), clock):
        (kept,) = recordings(tmp_path)
        assert kept != large and kept.stat().st_size == 5000


def test_none_stays_that_may_have_begun_too_long_ago(tmp_path: Path, clock: Clock) -> None:
    """Ended within seven days, a file of a day may hold what is older than them."""
    ended = old(tmp_path, "last-20231108T000000.mcap", 6.1 * DAY_S, 10, clock)
    fresh = old(tmp_path, "last-20231109T000000.mcap", 5.9 * DAY_S, 10, clock)
    with rotation(tmp_path, Limits(1e12, DAY_S, keep_bytes=1e12, keep_s=7 * DAY_S), clock) as sink:
        assert fresh.exists() and not ended.exists()
        clock.now_s += DAY_S / 2  # no new file is due
        turns(sink, CHECK_EVERY_TURNS)
        assert not recordings(tmp_path)


def test_a_file_is_no_longer_than_a_quarter_of_what_is_kept(tmp_path: Path, clock: Clock) -> None:
    with rotation(tmp_path, Limits(1e12, 1e12, keep_bytes=1e12, keep_s=DAY_S), clock) as sink:
        turns(sink, 5)
        clock.now_s += DAY_S / 4 + 1
        turns(sink, 1, start=5)
        assert len(recordings(tmp_path)) == 1


def test_old_ones_go_also_while_nothing_can_be_recorded(tmp_path: Path, clock: Clock) -> None:
    kept = old(tmp_path, "last-20231114T000000.mcap", DAY_S, 10, clock)
    limits = Limits(1e12, 1e12, keep_bytes=1e12, keep_s=7 * DAY_S)
    full = Rotation(lambda path: Full(), recording(tmp_path), limits, clock, must_begin=False)
    with full as sink:
        assert kept.exists()
        clock.now_s += 6 * DAY_S
        turns(sink, CHECK_EVERY_TURNS)
        assert not kept.exists()


def test_what_cannot_be_removed_is_told(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ancient = old(tmp_path, "last-20200101T000000.mcap", 8 * DAY_S, 10, clock)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    health = HealthMonitor()
    limits = Limits(1e12, 1e12, keep_bytes=1e12, keep_s=7 * DAY_S)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with Rotation(lambda path: Recorder(path, {}), recording(tmp_path), limits, clock, health):
            assert "too old cannot be removed: [Errno 13]" in health.snapshot().line
            assert str(ancient) in health.snapshot().line


@pytest.mark.parametrize("limits", [{"keep_mb": 0.1}, {"keep_days": 0.0}])
def test_less_than_a_recording_needs_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="greater than or equal"):
        RecordingConfig(**limits)


def test_what_is_not_a_recording_of_ours_stays(tmp_path: Path, clock: Clock) -> None:
    names = (
        "holiday.mcap",
        "last-notes.mcap",
        "last-2T2.mcap",
        "last.txt",
        "other-20200101T000000.mcap",
    )
    files = [old(tmp_path, name, 99 * DAY_S, 10, clock) for name in names]
    with rotation(tmp_path, Limits(1e12, 1e12, keep_bytes=0, keep_s=0), clock):
        assert all(path.exists() for path in files)


def test_a_folder_is_refused_and_left_as_it_is(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "last.mcap"
    folder.mkdir()
    for sink in (rotation(tmp_path, KEEP_ALL, clock), Recorder(folder, {})):
        with pytest.raises(RecordingError, match=r"a folder. Give a file, such as .*/last\.mcap"):
            sink.__enter__()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("place", [".", "/", "/dev/null"])
def test_a_place_without_a_name_for_a_file_is_refused(place: str) -> None:
    path = Path(place)
    with pytest.raises(RecordingError, match="Give a file, such as"):
        Rotation(lambda where: Recorder(where, {}), path, KEEP_ALL).__enter__()


def test_a_folder_named_like_an_old_recording_stays(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "last-20200101T000000.mcap"
    folder.mkdir()
    with rotation(tmp_path, Limits(1e12, 1e12, keep_bytes=0, keep_s=0), clock):
        assert folder.exists()


def test_a_recording_that_cannot_be_put_aside_is_an_input_error(
    tmp_path: Path, clock: Clock
) -> None:
    path = old(tmp_path, 240 * "n" + ".mcap", DAY_S, 600, clock)
    sink = Rotation(lambda where: Recorder(where, {}), path, KEEP_ALL, clock)
    with pytest.raises(RecordingError, match=r"cannot be written: File name too long"):
        sink.__enter__()


def file_limit(size: int | None) -> None:
    """No file grows beyond it: writing fails halfway, as on a disk that is full."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


@pytest.fixture
def small_disk() -> Iterator[None]:
    file_limit(100_000)
    yield
    file_limit(None)


@pytest.mark.usefixtures("small_disk")
def test_after_a_full_disk_it_records_again_and_health_tells(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    health = HealthMonitor()
    sink = Rotation(lambda path: Recorder(path, {}), recording(tmp_path), KEEP_ALL, clock, health)
    with sink:
        assert sink.on and health.snapshot().state is State.OK
        loud_turns(sink, 60)
        assert not sink.on
        loud_turns(sink, 3 * RETRY_TURNS, start=60)
        assert not sink.on and health.snapshot().state is State.DEGRADED
        assert "recording: nothing is recorded" in health.snapshot().line
        assert "File too large" in health.snapshot().line
        stopped = [one.levelname for one in caplog.records if "recording stopped" in one.message]
        assert stopped == ["WARNING"], "the tries that follow are no news"
        assert len(list(tmp_path.iterdir())) <= 1, "and leave no files"
        before = sink.written_bytes

        file_limit(None)
        loud_turns(sink, RETRY_TURNS + 60, start=2000)
        assert sink.on and health.snapshot().state is State.OK
        assert sink.written_bytes > before + 500_000
    assert list(read(recording(tmp_path)))[-1].turn.index == 2000 + RETRY_TURNS + 59
    assert sink.written_bytes >= recording(tmp_path).stat().st_size


def test_a_file_that_is_removed_while_it_is_written_is_followed_by_another(
    tmp_path: Path, clock: Clock
) -> None:
    with rotation(tmp_path, KEEP_ALL, clock) as sink:
        turns(sink, 5)
        (tmp_path / "last.mcap.part").unlink()
        turns(sink, 2 * CHECK_EVERY_TURNS, start=5)
    assert len(list(read(recording(tmp_path)))) > CHECK_EVERY_TURNS


def test_a_run_that_goes_on_without_its_recording_begins_it_when_the_other_process_ends(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    health = HealthMonitor()
    sink = Rotation(
        lambda path: Recorder(path, {}), recording(tmp_path), KEEP_ALL, clock, health, False
    )
    with Recorder(recording(tmp_path), {}) as other:
        turns(other, 1)
        with sink:
            turns(sink, 1)
            assert not sink.on
            reason = f"last.mcap is being written by process {os.getpid()}"
            assert reason in health.snapshot().line and reason in caplog.text
            other.__exit__(None, None, None)
            loud_turns(sink, RETRY_TURNS + 60)
            assert sink.on
    assert [len(list(read(path))) > 1 for path in recordings(tmp_path)] == [False, True]


class Full:
    """A recorder of a disk that is full."""

    def __enter__(self) -> Self:
        raise RecordingError("no space left")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raise AssertionError("it was never entered")

    def publish(self, record: TurnRecord) -> None:
        raise AssertionError("it was never entered")


def test_a_full_disk_ends_the_recording_and_not_the_run(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    makers = iter([lambda path: Recorder(path, {}), lambda path: Full()])
    limits = Limits(max_bytes=1, max_s=1e12, keep_bytes=1e12, keep_s=1e12)
    sink = Rotation(lambda path: next(makers)(path), recording(tmp_path), limits, clock)
    with sink:
        turns(sink, 4 * CHECK_EVERY_TURNS)
    assert "recording stopped, the run goes on: no space left" in caplog.text
    assert len(recordings(tmp_path)) == 1
