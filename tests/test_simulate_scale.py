"""The simulation of large collections: against what can be reckoned by hand, and the page that shows it."""

from pathlib import Path

import numpy as np
import pytest

from tools import simulate_scale as scale

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")
EXAMPLE = "--core-hour 0.05 --gpu-hour 4 --terabyte-month 23"
RESULTS = scale.Results(scale.RESULTS.read_text("utf-8"))


def test_figures_come_from_the_results():
    text = "## Search\n\n### 10,000 x 512, pictures\n\n|  | s | ms |\n|---|---|---|\n| ours | 2 | 1,234.5 |\n"
    results = scale.Results(text)
    assert results("10,000 x 512", "ours", "ms") == 1234.5
    for missing in (
        ("10 x 512", "ours", "ms"),
        ("10,000 x 512", "theirs", "ms"),
        ("10,000 x 512", "ours", "h"),
    ):
        with pytest.raises(KeyError, match=r"results\.md"):
            results(*missing)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("index_ms", "videolib, index without pictures"),
        ("duckdb_ms", "videolib, store.search in DuckDB"),
    ],
)
def test_what_was_measured_is_given_back(name, row):
    machine = scale.Machine(RESULTS)
    foretell = (
        machine.duckdb_ms if name == "duckdb_ms" else lambda count: scale.along(machine.index_ms, count)
    )
    for count in (10_000, 100_000):
        assert foretell(count) == pytest.approx(RESULTS(f"{count:,} x 512", row, "ms a query"))


def test_a_fleet_without_losses_is_a_plain_schedule():
    videos = np.full(10, 3600.0)  # core-seconds
    assert scale.simulate_fleet(videos, 5, 1, losses_a_day=0) == pytest.approx(2)
    assert scale.simulate_fleet(videos, 5, 4, losses_a_day=0) == pytest.approx(0.5)
    assert scale.simulate_fleet(videos, 100, 1, losses_a_day=0) == pytest.approx(1)
    mixed = np.array([4.0, 1, 1, 1, 1]) * 3600
    assert scale.simulate_fleet(mixed, 2, 1, losses_a_day=0) == pytest.approx(4)  # the long one first


def test_losses_cost_time():
    videos = np.full(2_000, 3600.0)
    lasting, lossy = (scale.simulate_fleet(videos, 20, 1, losses_a_day=losses) for losses in (0, 12))
    assert lasting < lossy < 1.1 * lasting


def test_videos_have_the_hours_that_were_asked_for():
    for hours in (1, 1_000, 10**6):
        lengths = scale.video_lengths(hours)
        assert lengths.sum() == pytest.approx(3600 * hours)
        assert lengths.min() > 0
        assert len(lengths) <= 200_000


def test_a_query_takes_as_long_as_its_slowest_partition():
    fair = 10**8 / 100 * 2048 / 1e9
    seconds = scale.query_seconds(10**8, 2048, 1.0, 1e9, 100)
    assert fair < seconds < 2.5 * fair
    assert scale.query_seconds(10**8, 2048, 1.0, 1e9, 1000) < seconds / 5


def test_an_index_takes_what_its_parts_take():
    memory = scale.index_bytes(10)
    assert memory["exact, F32"] == 10 * 2048
    assert memory["IVF_PQFS, m 32"] == 10 * 24
    assert memory["HNSW_FLAT, M 30"] == 10 * (2048 + 240)


def test_the_page_shows_what_the_tool_prints(capsys):
    assert f"python tools/simulate_scale.py {EXAMPLE}" in PAGE
    scale.main(EXAMPLE.split())
    printed = capsys.readouterr().out
    assert printed.count("1,000,000,000") >= 5
    for part in printed.split("## ")[1:]:
        assert part.partition("\n")[2].strip() in PAGE, part.partition("\n")[0]


@pytest.mark.slow
def test_the_check_runs_what_it_foretells():
    table = scale.check_table(scale.Machine(RESULTS), [1_000], 1)
    assert table.count("| 1,000 |") == 4
    assert "on disk, MB" in table
