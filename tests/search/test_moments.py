"""From a curve to moments: `moments_of`, on curves that are written down."""

import numpy as np
import pandas as pd
import pytest

from videolib import moments_of


def curve(values, *, seconds=None, numbers=None, video_id="v1", **columns) -> pd.DataFrame:
    count = len(values)
    return pd.DataFrame(
        {
            "video_id": video_id,
            "frame_number": np.arange(1, count + 1) if numbers is None else numbers,
            "timestamp_seconds": np.arange(count, dtype=float) if seconds is None else seconds,
            "similarity": np.asarray(values, dtype=float),
            **columns,
        }
    )


def spans(moments: pd.DataFrame) -> list[tuple[float, float, float]]:
    return list(zip(moments["start_seconds"], moments["peak_seconds"], moments["end_seconds"], strict=True))


def test_a_moment_opens_high_extends_lower_and_reaches_half_a_sample_outward():
    values = [0, 0, 0, 0.68, 0.9, 1.0, 0.68, 0.4, 0, 0, 0, 0, 0.68, 0, 0]
    assert spans(moments_of(curve(values))) == [(2.5, 5.0, 6.5)]
    assert spans(moments_of(curve(values), extend_to=0.3)) == [(2.5, 5.0, 7.5)]
    assert spans(moments_of(curve(values), open_at=0.66)) == [(2.5, 5.0, 6.5), (11.5, 12.0, 12.5)]


def test_the_levels_lie_between_the_usual_similarity_and_the_highest():
    values = 0.2 + 0.1 * np.array([0, 0, 0, 0, 0.69, 0, 0, 1.0, 0, 0, 0.71, 0])
    found = moments_of(curve(values))
    assert found["frame_number"].tolist() == [8, 11]
    assert found["rank"].tolist() == [1, 2]
    np.testing.assert_allclose(found["similarity"], [0.3, 0.271])


def test_what_is_shown_most_of_the_time_is_one_moment():
    noise = 0.02 * np.random.default_rng(0).random(80)
    values = np.concatenate([noise[:20] + 0.2, noise[20:] + 0.6])
    assert spans(moments_of(curve(values)))[0][::2] == (19.5, 80.0)
    assert len(moments_of(curve(values))) == 1


def test_a_gap_of_one_sample_is_filled_and_one_of_two_is_not():
    one, two = [0, 0, 1, 0.1, 1, 0, 0, 0, 0], [0, 0, 1, 0.1, 0.1, 1, 0, 0, 0, 0]
    assert spans(moments_of(curve(one))) == [(1.5, 2.0, 4.5)]
    assert spans(moments_of(curve(two))) == [(1.5, 2.0, 2.5), (4.5, 5.0, 5.5)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3, 4, 6, 7, 8, 9, 10, 11], [(1.5, 2.0, 6.5)]),  # one sample is missing
        ([1, 2, 3, 4, 14, 15, 16, 17, 18, 19], [(12.5, 13.0, 14.5), (1.5, 2.0, 3.5)]),
    ],
)
def test_samples_that_are_missing_are_bridged_like_those_below(numbers, expected):
    values = [0, 0, 1, 0.9, 1, 0.9, 0, 0, 0, 0]
    found = moments_of(curve(values, numbers=numbers, seconds=np.array(numbers) - 1.0))
    assert sorted(spans(found)) == sorted(expected)
    assert found["start_seconds"].tolist() == sorted(found["start_seconds"])  # equal peaks: in order of time


def test_uneven_times_reach_half_way_to_their_neighbours():
    seconds = [0.0, 1.0, 5.0, 6.0, 16.0, 17.0, 20.0]  # keyframes, or one frame of each shot
    found = moments_of(curve([0, 0, 0, 1, 0, 0, 0], seconds=seconds), duration_seconds=24.0)
    assert spans(found) == [(5.5, 6.0, 11.0)]
    found = moments_of(curve([1, 0, 0, 0, 0, 0, 1], seconds=seconds), duration_seconds=24.0)
    assert spans(found) == [(0.0, 0.0, 0.5), (18.5, 20.0, 24.0)]


def test_the_first_and_last_sample_reach_the_ends():
    values = [1, 0, 0, 0, 0, 1]
    assert spans(moments_of(curve(values), duration_seconds=5.3)) == [(0.0, 0.0, 0.5), (4.5, 5.0, 5.3)]
    assert spans(moments_of(curve(values)))[1] == (4.5, 5.0, 6.0)
    lost = moments_of(curve(values), duration_seconds=60.0)  # the file's last minute is damaged
    assert spans(lost)[1] == (4.5, 5.0, 6.0)
    shots = moments_of(curve([1, 0, 0], seconds=[3.0, 9.0, 20.0]), duration_seconds=25.0)
    assert spans(shots) == [(0.0, 3.0, 6.0)]


def test_one_frame_is_the_whole_video():
    assert spans(moments_of(curve([0.3]), duration_seconds=0.4)) == [(0.0, 0.0, 0.4)]
    assert spans(moments_of(curve([0.3], seconds=[7.0]), duration_seconds=20.0)) == [(0.0, 7.0, 20.0)]
    assert spans(moments_of(curve([0.3], seconds=[7.0]))) == [(0.0, 7.0, 7.0)]  # nobody told where it ends
    alone = moments_of(curve([0.3], numbers=[8], seconds=[7.0]), duration_seconds=20.0)  # others are missing
    assert spans(alone) == [(6.5, 7.0, 8.0)]


@pytest.mark.parametrize(
    ("values", "expected"), [([0.2, 0.9], [(0.5, 1.0, 1.6)]), ([0.5, 0.5], [(0.0, 0.0, 1.6)])]
)
def test_two_frames(values, expected):
    assert spans(moments_of(curve(values), duration_seconds=1.6)) == expected


def test_frames_that_are_all_equal_are_one_moment():
    assert spans(moments_of(curve([0.37] * 50), duration_seconds=50.0)) == [(0.0, 0.0, 50.0)]


def test_a_window_cuts_but_the_usual_level_is_the_whole_videos():
    values = [0] * 20 + [1.0] * 10 + [0] * 20
    found = moments_of(curve(values), start_seconds=22.0, end_seconds=26.5)
    assert spans(found) == [(22.0, 22.0, 26.5)]
    low = moments_of(curve(values), start_seconds=3.0, end_seconds=6.0)
    assert spans(low) == [(3.0, 3.0, 5.5)]
    assert moments_of(curve(values), start_seconds=90.0).empty


def test_several_videos_are_ranked_together_and_keep_their_titles():
    one = curve([0, 0.5, 0, 0], video_id="a", title="A", duration_seconds=4.0)
    other = curve([0, 0, 0, 0.9], video_id="b", title="B", duration_seconds=3.2)
    found = moments_of(pd.concat([one, other]))
    assert found[["rank", "title", "end_seconds"]].to_numpy().tolist() == [[1, "B", 3.2], [2, "A", 1.5]]
    assert found["frame_data"].isna().all()


def test_a_table_without_rows_has_no_moments():
    found = moments_of(curve([]))
    assert found.empty
    assert list(found) == [
        "rank", "video_id", "title", "start_seconds", "peak_seconds", "end_seconds", "similarity",
        "frame_number", "frame_data",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"open_at": 0.4}, "0 <= extend_to <= open_at <= 1, got extend_to=0.65 and open_at=0.4"),
        ({"open_at": 1.2}, "got extend_to=0.65 and open_at=1.2"),
        ({"extend_to": -0.1}, "got extend_to=-0.1"),
    ],
)
def test_wrong_levels_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        moments_of(curve([0, 1]), **options)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="must be numbers, got NaN"):
        moments_of(curve([0, np.nan]))
