import base64
import io
import re
from html import unescape
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from nbconvert import HTMLExporter

from tests.conftest import make_frames, make_video
from videolib import open_image, plot_frames, plot_labels, plot_moments, plot_timeline
from videolib.display.described import PAPER, DescribedFigure
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
    assert sorted(marked) == [20, 70]
    assert sorted(artist.xy[0] for artist in axis.artists) == [20, 70]
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
    assert len(figure.axes[0].artists) == 3


def test_neighbours_among_the_matches_are_one_peak():
    matches = make_matches(6).assign(timestamp_seconds=[20.0, 21, 19, 70, 22, 68])
    figure = plot_timeline(make_video(), curve(list(range(100))), matches=matches)
    axis = figure.axes[0]
    assert axis.collections[0].get_offsets()[:, 0].tolist() == [20, 70]
    assert [artist.xy[0] for artist in axis.artists] == [20, 70]


def test_times_that_would_look_the_same_have_decimals():
    near = make_matches(3).assign(timestamp_seconds=[0.0, 0.25, 0.5])
    labels = [axis.get_title().partition("\n")[0] for axis in plot_frames(near).axes]
    assert labels == ["frame 10 · 0:00.0", "frame 11 · 0:00.2", "frame 12 · 0:00.5"]
    short = make_video(duration_seconds=1.0)
    figure = plot_timeline(short, curve([0.0, 0.25, 0.5, 0.75, 1.0]), matches=near)
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(set(ticks)) == len(ticks) > 2


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_texts_are_large_and_dark_enough_on_their_own_paper_in_any_style(style, store):
    with plt.style.context(style):
        figures = make_each_figure(store)
    for figure in figures:
        figure.draw_without_rendering()
        assert light(figure.get_facecolor()) == light(PAPER) == 1
        texts = [each for each in figure.findobj(Text) if each.get_text().strip() and each.get_visible()]
        assert len(texts) > 2
        assert min(each.get_fontsize() for each in texts) >= 9
        assert min(contrast(each.get_color()) for each in texts) >= 4.5
        drawn = [line.get_color() for axis in figure.axes for line in axis.lines]
        drawn += [edge for axis in figure.axes for each in axis.collections for edge in each.get_edgecolor()]
        assert min(map(contrast, drawn), default=21) >= 4.5
        assert all(axis.get_facecolor() == figure.get_facecolor() for axis in figure.axes if axis.axison)


def test_no_colour_reads_on_white_and_on_a_dark_theme_so_figures_bring_paper():
    greys = [(shade, shade, shade) for shade in np.linspace(0, 1, 1000)]
    assert max(min(contrast(grey), contrast(grey, "#111111")) for grey in greys) < 4.5


def test_each_figure_tells_in_words_what_it_shows(store):
    texts = [figure.alt_text for figure in make_each_figure(store)]
    assert texts == [
        "3 pictures: a <red> $5 & car. frame 10 · 0:00, similarity 0.900; frame 11 · 0:07, similarity 0.890; "
        "frame 12 · 0:15, similarity 0.880",
        "Similarity from 0:00 to 1:40, 2 peaks marked: title of v1. 0:20 with similarity 0.900; "
        "0:50 with similarity 0.890",
        "2 moments, each by its first picture, its peak and its last. 1 · similarity 0.900, 0:19 to 0:22; "
        "2 · similarity 0.890, 0:49 to 0:52",
        "2 labels over time: title of v1. a car: 0:02 to 0:08, 0:50 to 1:00; a boat: never",
    ]
    assert len(plot_frames(make_matches(50), title="long " * 50).alt_text) <= 400


def test_notebooks_and_exported_pages_carry_the_text(store):
    """As a kernel displays it, with the formatter that matplotlib's inline backend sets."""
    shell = InteractiveShell.instance()
    figure = make_each_figure(store)[0]
    select_figure_formats(shell, {"png"})
    data, metadata = shell.display_formatter.format(figure)
    assert data["image/png"]
    assert metadata["image/png"] == {"alt": figure.alt_text}
    image = ElementTree.fromstring(data["text/html"].replace(">", "/>"))
    assert image.get("alt") == figure.alt_text
    kind, _, encoded = image.get("src").partition(",")
    assert kind == "data:image/webp;base64"
    shown = open_image(base64.b64decode(encoded))
    assert shown.size == tuple(figure.bbox.size.round().astype(int))
    output = nbformat.v4.new_output("display_data", data | {"text/plain": repr(figure)}, metadata=metadata)
    cell = nbformat.v4.new_code_cell("figure", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert alt_texts(HTMLExporter(), notebook) == [figure.alt_text]
    del output["data"]["text/html"]  # of what is left, older pages tell the metadata
    assert alt_texts(HTMLExporter(template_name="classic"), notebook) == [figure.alt_text]


def alt_texts(exporter: HTMLExporter, notebook) -> list[str]:
    page, _ = exporter.from_notebook_node(notebook)
    return [unescape(each) for each in re.findall(r'<img[^>]*alt="([^"]*)"', page)]


def make_each_figure(store) -> list[DescribedFigure]:
    moments = make_moments([20.0, 50.0])
    if not store._exists():
        store.write_video(make_video(), model="m", dimension=2, every_seconds=1.0)
    spans = pd.DataFrame({"label": "a car", "start_seconds": [2.0, 50.0], "end_seconds": [8.0, 60.0]})
    return [
        plot_frames(make_matches(3), title="a <red> $5 & car"),
        plot_timeline(make_video(), curve(list(range(100))), moments=moments),
        plot_moments(moments, store),
        plot_labels(make_video(), spans.assign(probability=[0.0, 1.0]), labels=["a car", "a boat"]),
    ]


def light(color) -> float:
    """Relative luminance (WCAG 2.2)."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(color, ground=PAPER) -> float:
    high, low = sorted((light(color), light(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


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
