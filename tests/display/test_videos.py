import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color, to_rgb

from tests.conftest import make_frames, make_video
from videolib import StoreError, plot_videos
from videolib.display.described import MARK_COLOR, PAPER
from videolib.display.videos import FAINT_COLOR

LENGTHS = {"v1": 100.0, "v2": 40.0, "v3": 70.0}
MOMENTS = pd.DataFrame(
    {
        "rank": [1, 2, 3, 4],
        "video_id": ["v3", "v1", "v3", "v3"],
        "start_seconds": [10.0, 90.0, 50.0, 12.0],
        "peak_seconds": [11.0, 95.0, 55.0, 12.5],
        "end_seconds": [12.0, 100.0, 60.0, 13.0],
    }
)
JUDGED = MOMENTS.assign(found=[True, True, False, False])


@pytest.fixture
def videos(store):
    for video_id, seconds in LENGTHS.items():
        video = make_video(video_id, duration_seconds=seconds)
        store.write_video(video, model="m", dimension=2, every_seconds=1.0)
        store.write_frames(make_frames(video_id, np.eye(2)))
    return store


def bands(figure) -> dict[str, list[tuple[float, float]]]:
    """Of each video the bars in its band, from when to when: first the video's length, then its moments."""
    (axis,) = figure.axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    found = {name: [] for name in names}
    for bar in axis.collections:
        (path,) = bar.get_paths()
        low, high = path.vertices.min(axis=0), path.vertices.max(axis=0)
        found[names[round((low[1] + high[1]) / 2)]].append((low[0], high[0]))
    return found


def ranks(figure) -> list[tuple[int, float, str]]:
    """The ranks that are written, with the band that each belongs to and the time that it stands at."""
    return [
        (round(text.get_position()[1]), text.get_position()[0], text.get_text())
        for text in figure.axes[0].texts
    ]


def test_each_video_has_a_band_as_long_as_it_lasts_the_best_first(videos):
    figure = plot_videos(MOMENTS, videos, title="a red car")
    found = bands(figure)
    assert list(found) == ["title of v3", "title of v1", "title of v2"]
    assert found["title of v3"] == [(0, 70), (10, 12), (12, 13), (50, 60)]
    assert found["title of v1"] == [(0, 100), (90, 100)]
    assert found["title of v2"] == [(0, 40)]
    assert figure.axes[0].get_xlim() == (0, 100)
    assert figure.axes[0].get_title() == "a red car"
    assert not figure.legends


def test_ranks_stand_above_their_moments_near_ones_together(videos):
    assert ranks(plot_videos(MOMENTS, videos)) == [(0, 11.75, "1, 4"), (0, 55, "3"), (1, 95, "2")]


def test_what_does_not_stand_out_is_told_by_more_than_its_colour(videos):
    figure = plot_videos(JUDGED, videos)
    assert [text for *_, text in ranks(figure)] == ["1, (4)", "(3)", "2"]
    first, fourth, third = figure.axes[0].collections[1:4]
    assert same_color(first.get_facecolor(), MARK_COLOR)
    for bar in (third, fourth):
        assert same_color(bar.get_facecolor(), PAPER)
        assert same_color(bar.get_edgecolor(), FAINT_COLOR)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["1 stands out", "(1) does not stand out"]


def test_only_the_videos_that_were_searched_and_no_more_than_wanted(videos):
    figure = plot_videos(MOMENTS[1:2], videos, video_id=["v1", "v2"])
    assert list(bands(figure)) == ["title of v1", "title of v2"]
    assert list(bands(plot_videos(MOMENTS[:0], videos, video_id="v2"))) == ["title of v2"]
    figure = plot_videos(MOMENTS, videos, most=1, title="a red car")
    assert list(bands(figure)) == ["title of v3"]
    assert figure.axes[0].get_title() == "a red car; 2 more videos are left out"


def test_of_a_video_at_two_samplings_the_latest_is_shown(videos):
    again = make_video("v1", duration_seconds=100)
    video_id = videos.write_video(again, model="m", dimension=2, every_seconds=2.0)
    videos.write_frames(make_frames(video_id, np.eye(2)))
    assert list(bands(plot_videos(MOMENTS[:0], videos))).count("title of v1") == 1


def test_it_tells_in_words_what_it_shows(videos):
    text = plot_videos(JUDGED, videos, title="a red car").alt_text
    assert text.startswith(
        "2 of 3 videos with moments: a red car. title of v3: moment 1 at 0:10 to 0:12, moment 4 at"
    )
    assert (
        "moment 3 at 0:50 to 1:00, which does not stand out; title of v1: moment 2 at 1:30 to 1:40;" in text
    )
    assert text.endswith("title of v2: none")


@pytest.mark.parametrize("count", [1, 13])
def test_texts_are_large_and_do_not_overlap(count, videos):
    rows = [
        {"rank": rank, "video_id": f"v{1 + rank % 3}", "start_seconds": 2.9 * rank, "found": rank % 2 == 0}
        for rank in range(1, count + 1)
    ]
    moments = pd.DataFrame(rows).assign(peak_seconds=lambda table: table["start_seconds"] + 1)
    figure = plot_videos(moments.assign(end_seconds=moments["start_seconds"] + 2), videos, title="a red car")
    figure.savefig(io.BytesIO())
    (axis,) = figure.axes
    texts = [*axis.texts, *axis.get_yticklabels(), *axis.get_xticklabels(), axis.title, axis.xaxis.label]
    texts += figure.legends[0].texts
    assert all(text.get_fontsize() >= 9 for text in texts)
    assert all(to_rgb(text.get_color()) == (0, 0, 0) for text in texts)
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


@pytest.mark.parametrize(
    ("moments", "options", "message"),
    [
        (MOMENTS.drop(columns="rank"), {}, "missing: rank"),
        (MOMENTS, {"most": 0}, "most must be 1 or more and there must be a video, got 0 and 3 videos"),
        (MOMENTS[:0], {"video_id": []}, "there must be a video, got 20 and 0 videos: see store.list_videos"),
    ],
)
def test_it_refuses(moments, options, message, videos):
    with pytest.raises(ValueError, match=message):
        plot_videos(moments, videos, **options)


def test_a_video_that_is_gone_is_named(videos):
    videos.delete_video("v3")
    with pytest.raises(StoreError, match="the store has no video 'v3' any more"):
        plot_videos(MOMENTS, videos)
