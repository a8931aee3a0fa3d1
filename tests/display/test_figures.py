import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from videolib import plot_frames, plot_moments, plot_timeline
from videolib.images import decode_jpeg, encode_jpeg
from videolib.times import format_seconds


def make_matches(count: int, sizes=((90, 160),)) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rank": range(1, count + 1),
            "video_id": "v1",
            "frame_number": range(10, count + 10),
            "timestamp_seconds": [number * 7.5 for number in range(count)],
            "similarity": [0.9 - number / 100 for number in range(count)],
            "frame_data": [
                encode_jpeg(np.full((*sizes[number % len(sizes)], 3), (200, 40, 30), dtype=np.uint8))
                for number in range(count)
            ],
        }
    )


def pixels(figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return decode_jpeg(buffer.getvalue())


@pytest.mark.parametrize("count", [1, 5, 50])
def test_each_match_has_a_picture_and_its_labels(count):
    figure = plot_frames(make_matches(count))
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == count
    last = count - 1
    labels = f"frame {last + 10} · {format_seconds(last * 7.5)}\nsimilarity {0.9 - last / 100:.3f}"
    assert shown[-1].get_title() == labels


def test_no_two_labels_overlap():
    figure = plot_frames(make_matches(7), title="a query")
    figure.draw_without_rendering()
    boxes = [axis.title.get_window_extent() for axis in figure.axes if axis.images]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_portrait_and_landscape_keep_their_shapes():
    figure = plot_frames(make_matches(4, sizes=((90, 160), (160, 90))))
    figure.draw_without_rendering()
    shapes = [axis.get_window_extent() for axis in figure.axes]
    ratios = [box.width / box.height for box in shapes]
    np.testing.assert_allclose(ratios, [16 / 9, 9 / 16] * 2, rtol=0.02)


def test_red_stays_red():
    picture = pixels(plot_frames(make_matches(1)))
    red = (picture.astype(int) - (200, 40, 30)).__abs__().max(axis=2) < 12
    assert red.mean() > 0.3


def test_frames_without_similarity_are_shown_too():
    figure = plot_frames(make_matches(2).drop(columns="similarity"))
    assert figure.axes[0].get_title() == "frame 10 · 0:00"


@pytest.mark.parametrize("plot", [plot_frames, lambda matches: plot_timeline(make_video(), matches)])
def test_the_figure_is_closed_and_readable_on_any_background(plot):
    figure = plot(make_matches(3))
    assert plt.get_fignums() == []
    assert (pixels(figure)[0, 0] == 255).all()  # its own white, also in a dark theme


def test_the_timeline_marks_the_best_and_pictures_each_peak_once():
    seconds = np.arange(100.0)
    values = np.exp(-((seconds - 20) ** 2) / 8) + 0.8 * np.exp(-((seconds - 70) ** 2) / 8)
    rows = make_matches(100).assign(timestamp_seconds=seconds, similarity=values)
    figure = plot_timeline(make_video(), rows.sample(frac=1, random_state=0), k=8)
    axis = figure.axes[0]
    marked = axis.collections[0].get_offsets()[:, 0]
    assert sorted(marked) == [18, 19, 20, 21, 22, 69, 70, 71]
    assert [artist.xy[0] for artist in axis.artists] == [20, 70]
    assert axis.lines[0].get_xdata().tolist() == seconds.tolist()
    assert axis.get_xlim() == (0, 100)


def test_thumbnails_at_the_ends_stay_inside():
    rows = make_matches(2).assign(timestamp_seconds=[0.0, 99.0])
    figure = plot_timeline(make_video(), rows)
    figure.draw_without_rendering()
    inside = figure.axes[0].get_window_extent()
    for artist in figure.axes[0].artists:
        box = artist.offsetbox.get_window_extent()
        assert inside.x0 - 1 <= box.x0
        assert box.x1 <= inside.x1 + 1
        assert box.y1 <= inside.y1 + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.iloc[:0], "at least one row, got none"),
        (lambda rows: rows.drop(columns="frame_data"), "missing: frame_data"),
    ],
)
@pytest.mark.parametrize("plot", [plot_frames, lambda rows: plot_timeline(make_video(), rows)])
def test_wrong_tables_are_refused(plot, change, message):
    with pytest.raises(ValueError, match=message):
        plot(change(make_matches(2)))


def test_no_columns_are_refused():
    with pytest.raises(ValueError, match="columns must be 1 or more, got 0"):
        plot_frames(make_matches(1), columns=0)


def curve(seconds: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"timestamp_seconds": seconds, "similarity": np.linspace(0, 1, len(seconds))})


@pytest.mark.parametrize(
    ("seconds", "gaps"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 0),
        ([0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13], 1),
        ([0, 5, 7, 30, 33, 41, 60], 0),  # shots
        ([0], 0),
    ],
)
def test_the_curve_has_a_gap_where_frames_are_missing(seconds, gaps):
    figure = plot_timeline(make_video(), curve(seconds), matches=make_matches(1))
    line = figure.axes[0].lines[0]
    assert np.isnan(line.get_ydata()).sum() == gaps
    assert len(line.get_xdata()) == len(seconds) + gaps


def test_the_marked_frames_are_the_matches():
    figure = plot_timeline(make_video(), curve(list(range(100))), matches=make_matches(3))
    (marks,) = figure.axes[0].collections
    np.testing.assert_allclose(marks.get_offsets()[:, 0], [0, 7.5, 15])


def make_moments(peaks: list[float], video_id: str = "v1") -> pd.DataFrame:
    rows = make_matches(len(peaks)).assign(video_id=video_id, peak_seconds=peaks)
    return rows.assign(start_seconds=rows["peak_seconds"] - 1, end_seconds=rows["peak_seconds"] + 2)


@pytest.mark.parametrize("peaks", [[50.0], [20.0, 21.0, 3.0, 22.0, 98.0], list(range(1, 99, 8)), []])
def test_each_moment_is_shaded_and_has_a_picture_of_its_own(peaks):
    elsewhere = make_moments([40.0, 60.0], "v2")
    moments = pd.concat([make_moments(peaks), elsewhere], ignore_index=True)
    figure = plot_timeline(make_video(), curve(list(range(100))), moments=moments)
    axis = figure.axes[0]
    assert sorted(patch.get_x() for patch in axis.patches) == sorted(peak - 1 for peak in peaks)
    assert {patch.get_width() for patch in axis.patches} <= {3.0}
    figure.draw_without_rendering()
    boxes = [artist.offsetbox.get_window_extent() for artist in axis.artists]
    assert sorted(artist.xy[0] for artist in axis.artists) == sorted(peaks)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(axis.get_window_extent().x0 - 1 <= box.x0 for box in boxes)


def test_a_table_of_frames_is_no_table_of_moments():
    with pytest.raises(ValueError, match=r"moments must have the columns .*; missing: start_seconds, peak_"):
        plot_timeline(make_video(), curve([0, 1]), moments=make_matches(2))


def test_each_moment_shows_its_start_its_peak_and_its_end(store):
    shades = [10, 60, 110, 160, 210]
    store.write_video(make_video(), model="m", dimension=2, every_seconds=1.0)
    frames = make_frames("v1", np.ones((5, 2)))
    frames["frame_data"] = [encode_jpeg(np.full((90, 160, 3), shade, np.uint8)) for shade in shades]
    store.write_frames(frames)
    moments = make_moments([2.0, 3.0]).assign(title="a *talk*", sentence="It is probably not in this video.")
    figure = plot_moments(moments, store, title="a $5 bill")
    assert plt.get_fignums() == []
    (first, second) = figure.subfigs
    shown = [[round(axis.images[0].get_array().mean()) for axis in strip.axes] for strip in figure.subfigs]
    assert [[row[0], row[2]] for row in shown] == [[60, 160], [110, 210]]
    assert [axis.get_title() for axis in second.axes] == ["start 0:02", "peak 0:03", "end 0:05"]
    assert first.get_suptitle() == "1 · a *talk* · similarity 0.900\nIt is probably not in this video."
    assert figure.get_suptitle() == "a $5 bill"


def test_moments_without_rows_are_refused(store):
    with pytest.raises(ValueError, match="moments must have at least one row"):
        plot_moments(make_moments([]), store)
