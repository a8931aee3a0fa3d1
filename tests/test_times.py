import math

import pytest

from videolib.times import decimals_to_tell_apart, format_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.99, "0:59"), (60, "1:00"), (754.3, "12:34"), (3600, "1:00:00"), (36061, "10:01:01")],
)
def test_times_are_minutes_and_seconds(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [
        (12.5, 1, "0:12.5"),
        (0.29, 2, "0:00.29"),
        (59.999, 1, "0:59.9"),
        (3723.04, 2, "1:02:03.04"),
        (7, 3, "0:07.000"),
    ],
)
def test_fractions_are_written_where_they_are_asked_for(seconds, decimals, text):
    assert format_seconds(seconds, decimals=decimals) == text


@pytest.mark.parametrize(
    ("times", "decimals"),
    [
        ([], 0),
        ([1, 2, 2, 60], 0),
        ([12.0, 12.5], 1),
        ([0, 1 / 30, 2 / 30], 2),
        ([0, 0.001], 3),
        ([0, 0.0001], 3),
        ([1.0, math.nan, math.inf], 0),
    ],
)
def test_so_many_decimals_as_tell_times_apart(times, decimals):
    assert decimals_to_tell_apart(times) == decimals
