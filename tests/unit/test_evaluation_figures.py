"""Figures of hand-made data whose answers are known."""

from __future__ import annotations

import io
import math
import sys

import numpy as np
import pytest
from rich.console import Console

from edge_runtime.errors import InputError
from edge_runtime.evaluation import figures
from edge_runtime.evaluation.figures import Crossings
from edge_runtime.evaluation.page import _recordings, _title
from edge_runtime.evaluation.report import check_can_draw, put, table


def test_a_share_has_wilsons_interval() -> None:
    # Newcombe (1998), table I: 81 of 263 is 0.2553 .. 0.3662.
    found = figures.share(81, 263)
    assert found == {"value": 0.308, "n": 263, "ci95": [0.2553, 0.3662]}
    assert figures.share(0, 20)["ci95"] == [0.0, 0.1611]
    assert figures.share(0, 0) == {"value": None, "n": 0, "ci95": [None, None]}


def test_a_mean_of_shares_weighs_them_alike() -> None:
    found = figures.mean_of([figures.share(10, 100), figures.share(9, 10)])
    assert found["value"] == 0.5 and found["n"] == 110
    # 0.5 -+ sqrt(.0448^2 + .3042^2) / 2 and sqrt(.0744^2 + .0821^2) / 2
    assert found["ci95"] == pytest.approx([0.3463, 0.5554], abs=2e-3)
    assert figures.mean_of([figures.share(10, 100), figures.nothing()])["value"] is None


def test_six_phrases_said_a_hundred_times_are_no_hundred_phrases() -> None:
    phrases = [figures.Item(int(i % 6 < 2), 1, f"phrase {i % 6}", f"voice {i}") for i in range(102)]
    found, plain = figures.ratio(phrases), figures.share(34, 102)
    assert (found["value"], found["n"], found["texts"]) == (plain["value"], 102, 6)
    assert found["ci95"][0] == 0 and found["ci95"][1] > 0.6 > plain["ci95"][1]
    assert put(found, "share") == "33 % (n 102, 6 texts)"
    assert put(found | {"texts": 1}, "share") == "33 % (n 102, 1 text)"
    apart = [item._replace(text=f"phrase {i}") for i, item in enumerate(phrases)]
    assert figures.ratio(apart)["ci95"] == pytest.approx(plain["ci95"], abs=0.02)
    assert "texts" not in figures.ratio(apart)
    wrong = figures.ratio([figures.Item(3, 1, "yes", "a"), figures.Item(2, 1, "no", "b")] * 2)
    assert wrong["value"] == 2.5, "more words put in than there were"
    unknown = figures.ratio([figures.Item(int(i < 5)) for i in range(9)])
    assert unknown["ci95"] == pytest.approx(figures.share(5, 9)["ci95"], abs=0.05)


def test_two_recordings_dealt_a_hundred_times_are_two() -> None:
    def items(*hits: int) -> list[figures.Item]:
        return [figures.Item(hits[i % 2], 1, "", "", f"{i % 2}.wav") for i in range(100)]

    found = figures.ratio(items(1, 0))
    assert (found["n"], found["recordings"]) == (100, 2) and "texts" not in found
    assert found["ci95"] == [0.0, 1.0]
    assert put(found, "share") == "50 % (n 100, 2 recordings)"
    never = figures.ratio(items(0, 0))
    assert never["ci95"] == figures.share(0, 2)["ci95"], "the third may be another kind"
    more = [*items(1, 0), *(figures.Item(0, 1) for _ in range(100))]
    assert "recordings" not in figures.ratio(more), "what is of no file is of its own"
    own = [item._replace(recording=f"{at}.wav") for at, item in enumerate(items(1, 0))]
    assert "recordings" not in figures.ratio(own)
    assert figures.ratio(own)["ci95"] == pytest.approx(figures.share(50, 100)["ci95"], abs=0.02)


def test_a_page_says_of_whom_it_is_not_known_whether_they_were_heard() -> None:
    told = {"folder": "mine", "splits": ["dev"], "speech": 5, "left_out": {"no such file": 2}}
    for data in (None, told):
        assert _title("human", data) == "Human speakers it never heard"
    assert "no split says" in _title("human", told | {"splits": ["test"]})
    assert _title("generated_seen", told | {"splits": ["test"]}).startswith("Generated")
    assert "".join(_recordings(told)) == (
        "<p class=quiet>Of mine, split dev: 5 utterances of people. Left out: 2 no such file.</p>"
    )


def test_two_voices_may_be_as_far_apart_as_the_next_two() -> None:
    voices = [
        figures.Item(int(i % 10 < (2 if i < 50 else 6)), 1, "", f"{i < 50}") for i in range(100)
    ]
    assert figures.ratio(voices)["ci95"] == [0.2, 0.6]


def test_an_error_rate_has_an_interval() -> None:
    found = figures.ratio([figures.Item(i % 4, 10, f"sentence {i}", f"{i}") for i in range(80)])
    assert (found["value"], found["n"]) == (0.15, 800)
    assert 0.11 < found["ci95"][0] < 0.14 < 0.16 < found["ci95"][1] < 0.19
    assert figures.ratio([]) == figures.nothing()


def test_a_rate_without_an_event_still_has_an_upper_bound() -> None:
    found = figures.rate(0, 10.0)
    assert found["value"] == 0 and found["ci95"][0] == 0
    assert found["ci95"][1] == pytest.approx(0.3689, abs=0.005)  # exact Poisson: 3.689 events
    low, high = figures.rate(10, 2.0)["ci95"]
    assert low == pytest.approx(4.795 / 2, abs=0.02) and high == pytest.approx(18.39 / 2, abs=0.02)
    assert figures.rate(3, 0.0)["value"] is None


def test_an_auc_counts_ties_half() -> None:
    positive, negative = np.array([3.0, 2.0]), np.array([1.0, 2.0])
    assert figures.auc(positive, negative) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert figures.auc(negative, positive) == pytest.approx(0.125)


def test_matching_takes_away_what_the_length_alone_gives() -> None:
    rng = np.random.default_rng(0)
    ends, pauses = rng.uniform(1.0, 4.0, 400), rng.uniform(0.5, 2.5, 400)
    raw = figures.auc(ends, pauses)
    matched = figures.matched_auc(ends, pauses, ends, pauses)
    assert raw > 0.8
    assert matched == pytest.approx(0.5, abs=0.06)
    assert math.isnan(figures.matched_auc(ends, pauses, ends, pauses + 100))


def test_matching_keeps_what_does_not_come_from_the_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.uniform(0.5, 3.0, 300), rng.uniform(0.5, 3.0, 300)
    scores = rng.normal(1.5, 1, 300), rng.normal(0, 1, 300)
    found = figures.auc_figure(*scores, lengths)
    assert found["value"] == pytest.approx(0.856, abs=0.03)  # Phi(1.5 / sqrt 2)
    assert found["ci95"][0] < found["value"] < found["ci95"][1]


def test_few_texts_said_often_say_less_than_as_many_of_their_own() -> None:
    """Each text is heard well or badly, however often it is said."""
    rng = np.random.default_rng(0)
    texts = [str(number) for number in range(6)]
    said = [texts[at % 6] for at in range(120)]
    easy = dict(zip(texts, rng.normal(0.5, 1.0, 6), strict=True))
    stops = np.array([easy[text] + rng.normal(0, 0.3) for text in said])
    held = rng.normal(0, 0.5, 120)
    plain = figures.auc_figure(stops, held)
    honest = figures.auc_figure(stops, held, alike=((said, [""] * 120),))
    assert honest["value"] == plain["value"] and honest["n"] == plain["n"]
    width = [ends[1] - ends[0] for ends in (plain["ci95"], honest["ci95"])]
    assert width[1] > 2 * width[0]
    nobody = figures.auc_figure(stops, held, alike=(([""] * 120, [""] * 120),))
    assert nobody["ci95"] == pytest.approx(plain["ci95"], abs=0.02)


def test_a_percentile_of_few_texts_is_as_sure_as_they_are_many() -> None:
    late = [400.0] * 50 + [900.0] * 50
    texts = ["stop"] * 50 + ["hold on"] * 50
    plain, honest = (figures.percentile(late, 60, alike=names) for names in ([], [texts]))
    assert plain["value"] == honest["value"] == 900
    assert honest["ci95"] == [400, 900]
    every = figures.percentile([float(v) for v in range(100)], 50, alike=[[""] * 100])
    assert 30 < every["ci95"][0] < 50 < every["ci95"][1] < 70


def test_what_ends_and_pauses_have_in_common_is_drawn_together() -> None:
    """In each text the end scores just above its own pause: no draw of texts can take that away."""
    base = np.linspace(0, 50, 60)
    texts = [str(number) for number in range(60)]
    lengths = np.exp(base), np.exp(base)  # only within a text are they alike
    found = figures.auc_figure(base + 0.1, base, lengths, alike=((texts, texts),))
    assert found["value"] == 1 and found["ci95"] == [1, 1]


def items(*rows: tuple[float, float]) -> Crossings:
    """Each item reaches its score at its time, in ms, and is at zero before."""
    return Crossings([(np.array([0.0, at]), np.array([0.0, score])) for at, score in rows])


def test_the_latency_at_five_per_cent_cutoffs() -> None:
    # One pause of twenty reaches 0.8, the others 0.3: at 0.5 five per cent are cut off.
    pauses = items((500, 0.8), *[(500, 0.3)] * 19)
    ends = items(*[(200, 0.4)] * 4, *[(600, 0.9)] * 6)
    found = figures.latency_at_cutoffs(ends, pauses)
    assert found["value"] == 600 and found["n"] == 10
    # Whoever may cut off every pause answers at 0.4, of which the median is faster.
    assert figures.latency_at_cutoffs(items(*[(200, 0.4)] * 6), pauses)["value"] == 200
    # Nothing is left when every threshold that an end reaches cuts off half of the pauses.
    assert figures.latency_at_cutoffs(items((200, 0.2)), pauses)["value"] is None


def test_the_interval_knows_that_the_threshold_was_found_on_these_pauses() -> None:
    """One pause more or less below it, and every end is answered later or sooner."""
    pauses = items((500, 0.8), (500, 0.6), *[(500, 0.3)] * 38)
    times, scores = np.array([0.0, 200.0, 400.0, 800.0]), np.array([0.0, 0.4, 0.7, 0.9])
    found = figures.latency_at_cutoffs(Crossings([(times, scores)] * 50), pauses)
    assert found["value"] == 200, "two of forty may be cut off"
    assert found["ci95"] == [200, 800]


def test_misses_count_in_the_median_latency() -> None:
    pauses = items(*[(100, 0.5)] * 5)
    found = figures.latency_at_cutoffs(items((300, 0.9), (400, 0.1), (500, 0.1)), pauses)
    assert found["value"] is None, "two of three are never taken"


def test_the_trade_off_goes_down_as_the_threshold_goes_up() -> None:
    rng = np.random.default_rng(1)
    pauses = items(*((300, score) for score in rng.uniform(0, 0.7, 50)))
    ends = items(*((300, score) for score in rng.uniform(0.3, 1, 50)))
    curve = figures.trade_off(ends, pauses)
    cuts = [cut for _, cut, _, _ in curve]
    assert cuts == sorted(cuts, reverse=True) and cuts[0] == 1.0
    assert figures.cutoffs_at_latency(curve, 50, 300.0)["value"] < 0.5
    assert figures.cutoffs_at_latency(curve, 50, 100.0)["value"] == 1.0
    assert figures.cutoffs_at_latency([], 50)["value"] is None
    assert figures.trade_off(items(), pauses) == []


def test_a_difference_resamples_the_items_together() -> None:
    pairs = np.array([[0.0, 1.0]] * 20 + [[0.0, 0.0]] * 20)
    found = figures.difference(lambda picks: float((pairs[picks, 1] - pairs[picks, 0]).mean()), 40)
    assert found["value"] == 0.5
    assert 0.2 < found["ci95"][0] < 0.5 < found["ci95"][1] < 0.8


def test_percentiles_come_with_an_interval() -> None:
    found = figures.percentile([float(v) for v in range(101)], 90)
    assert found["value"] == 90 and found["n"] == 101
    assert 75 < found["ci95"][0] < 90 < found["ci95"][1] <= 100
    assert figures.percentile([], 50)["value"] is None


@pytest.mark.parametrize(("module", "name"), [("matplotlib", "matplotlib"), ("cv2", "OpenCV")])
def test_what_is_drawn_with_must_be_there(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"{name}.*pip install"):
        check_can_draw()


def test_a_run_of_some_scenarios_shows_only_what_they_tell() -> None:
    figure = {"value": 0.5, "n": 8, "ci95": [0.2, 0.8]}
    report = {"rows": {"model": {"seen": {"cancel_recall": figure}, "unseen": {}}}}
    for only, missing in (([], True), (["answers"], False)):
        out = io.StringIO()
        table({**report, "only": only}, Console(file=out, width=100))
        assert "50 % (n 8)" in out.getvalue()
        assert ("misses an interruption" in out.getvalue()) is missing
