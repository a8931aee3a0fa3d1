import io

import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from tests.conftest import make_video
from videolib import plot_labels

SPANS = pd.DataFrame(
    {
        "label": ["a car", "a boat", "a car"],
        "start_seconds": [2.0, 10.0, 50.0],
        "end_seconds": [8.0, 20.0, 100.5],
        "probability": [0.9, 0.5, 1.0],
    }
)


def bands(figure) -> dict[str, list[tuple[float, float, float]]]:
    """Of each label the bars in its band: start, end and how opaque."""
    (axis,) = figure.axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    found = {name: [] for name in names}
    for bar in axis.collections:
        assert isinstance(bar, PolyCollection)
        (path,) = bar.get_paths()
        low, high = path.vertices.min(axis=0), path.vertices.max(axis=0)
        found[names[round((low[1] + high[1]) / 2)]].append((low[0], high[0], bar.get_facecolor()[0, 3]))
    return found


def test_each_label_has_one_band_with_its_spans():
    figure = plot_labels(make_video(), SPANS)
    found = bands(figure)
    assert list(found) == ["a car", "a boat"]
    assert [bar[:2] for bar in found["a car"]] == [(2, 8), (50, 100.5)]
    assert [bar[:2] for bar in found["a boat"]] == [(10, 20)]
    assert found["a boat"][0][2] < found["a car"][0][2] < found["a car"][1][2]
    assert figure.axes[0].get_xlim() == (0, 100)
    assert figure.axes[0].get_title() == "title of v1"
    figure.savefig(io.BytesIO())


def test_labels_without_a_span_have_an_empty_band():
    found = bands(plot_labels(make_video(), SPANS.iloc[:0], labels=["a zebra", "a car"]))
    assert found == {"a zebra": [], "a car": []}


def test_labels_are_drawn_as_they_were_typed():
    name = r"win $5, $\frac{ <script>"
    figure = plot_labels(make_video(title="$1"), SPANS.assign(label=name), title="$2")
    assert list(bands(figure)) == [name]
    figure.savefig(io.BytesIO())


def test_it_refuses():
    with pytest.raises(ValueError, match="missing: probability"):
        plot_labels(make_video(), SPANS.drop(columns="probability"))
    with pytest.raises(ValueError, match="pass labels to show empty bands"):
        plot_labels(make_video(), SPANS.iloc[:0])
