"""Health: the whole is the worst of its parts, a silent part has failed, and changes are told."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from edge_runtime.health import Health, HealthMonitor, Part, State
from edge_runtime.pacing import VirtualClock

SECOND_NS = 1_000_000_000


def test_nothing_reported_is_ok() -> None:
    assert HealthMonitor().snapshot() == Health()
    assert Health().state is State.OK
    assert Health().line == "ok"


def test_the_whole_is_the_worst_part_and_gives_its_reason_first() -> None:
    monitor = HealthMonitor()
    monitor.report("loop", State.OK)
    monitor.report("camera", State.DEGRADED, "no picture")
    monitor.report("microphone", State.FAILED, "unplugged")
    health = monitor.snapshot()
    assert health.state is State.FAILED
    assert health.reasons == ("microphone: unplugged", "camera: no picture")
    assert health.line == "failed: microphone: unplugged; camera: no picture"


def test_a_part_that_recovers_leaves_no_trace() -> None:
    monitor = HealthMonitor()
    monitor.report("camera", State.DEGRADED, "no picture")
    monitor.report("camera", State.OK)
    assert monitor.snapshot().line == "ok"


def test_a_snapshot_stays_as_it_was() -> None:
    monitor = HealthMonitor()
    figures = {"age_ms": 3.0}
    monitor.report("camera", State.OK, values=figures)
    before = monitor.snapshot()
    figures["age_ms"] = 9.0
    monitor.report("camera", State.FAILED)
    part = before.part("camera")
    assert part is not None
    assert (part.state, part.values["age_ms"]) == (State.OK, 3.0)
    assert before.part("engine") is None


def test_a_report_that_is_not_renewed_in_time_has_failed_until_it_is() -> None:
    clock = VirtualClock()
    monitor = HealthMonitor(clock.now_ns)
    monitor.report("loop", State.OK, holds_s=3.0)
    clock.sleep_until(3 * SECOND_NS)
    assert monitor.snapshot().state is State.OK
    clock.sleep_until(8 * SECOND_NS)
    assert monitor.snapshot().line == "failed: loop: no sign of it for 8 s"
    monitor.report("loop", State.OK, holds_s=3.0)
    assert monitor.snapshot().state is State.OK


def test_it_goes_into_json_whole() -> None:
    health = Health((Part("disk", State.DEGRADED, "10 MB are free", {"free_mb": 10}),))
    assert json.loads(json.dumps(health.as_dict())) == {
        "state": "degraded",
        "reasons": ["disk: 10 MB are free"],
        "parts": {
            "disk": {
                "state": "degraded",
                "reason": "10 MB are free",
                "values": {"free_mb": 10},
            }
        },
    }


def test_only_changes_are_logged_and_getting_worse_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monitor = HealthMonitor()
    for state in (State.OK, State.OK, State.DEGRADED, State.DEGRADED, State.FAILED, State.OK):
        monitor.report("camera", state, "" if state is State.OK else state.value)
    assert [(one.levelname, one.message) for one in caplog.records] == [
        ("WARNING", "health: camera is degraded: degraded"),
        ("WARNING", "health: camera is failed: failed"),
        ("INFO", "health: camera is ok"),
    ]


def test_many_threads_may_report_and_look_at_the_same_time() -> None:
    monitor = HealthMonitor()
    start = threading.Barrier(5)

    def report(name: str) -> None:
        start.wait()
        for turn in range(500):
            monitor.report(name, State.OK, values={"turn": turn})
            monitor.snapshot()

    threads = [threading.Thread(target=report, args=(f"part {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    for thread in threads:
        thread.join()
    assert sorted(part.name for part in monitor.snapshot().parts) == [f"part {n}" for n in range(4)]
    assert {part.values["turn"] for part in monitor.snapshot().parts} == {499}


def test_a_start_that_is_not_quite_ok_is_no_warning_but_a_failure_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monitor = HealthMonitor()
    monitor.report("link", State.DEGRADED, "no worker yet")
    monitor.report("microphone", State.FAILED, "unplugged")
    assert [one.levelname for one in caplog.records] == ["INFO", "WARNING"]
