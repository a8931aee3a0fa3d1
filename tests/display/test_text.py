import io
import warnings

import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from videolib import plot_frames, plot_labels, plot_timeline
from videolib.display.text import fit_text
from videolib.images import encode_jpeg

TEXTS = {
    "dollars": "between $5 or $10",
    "broken mathematics": r"$x_{1 \frac",
    "underscores": "a_file_name^2",
    "chinese": "一辆红色的汽车",
    "arabic": "سيارة حمراء",
    "emoji": "a 🚗 and a 👩‍🚀",
    "private": "\ue000\x00\x07",
    "long": "a person who walks along the river " * 6,
    "one word": "x" * 300,
}


def matches(shape: tuple[int, int], count: int = 3):
    image = np.zeros((*shape, 3), dtype=np.uint8)
    frames = make_frames("v", np.eye(count, 4)).assign(frame_data=encode_jpeg(image))
    return frames.assign(similarity=np.linspace(0.5, 0.7, count))


def render(figure) -> None:
    """Draw it, and let no glyph be missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("count", [1, 3])
def test_no_title_raises_vanishes_or_leaves_the_grid(text, count):
    figure = plot_frames(matches((90, 160), count), title=text)
    render(figure)
    title = figure._suptitle
    assert title.get_text().strip()
    assert figure.bbox.containsx(title.get_window_extent().x0)
    assert figure.bbox.containsx(title.get_window_extent().x1)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("shape", [(90, 160), (160, 90)])
def test_no_title_or_picture_leaves_the_timeline(text, shape):
    figure = plot_timeline(make_video("v", duration_seconds=3.0), matches(shape), title=text)
    render(figure)
    (axis,) = figure.axes
    top = axis.title.get_window_extent()
    assert figure.bbox.containsx(top.x0)
    assert figure.bbox.containsx(top.x1)
    assert all(picture.get_window_extent().y1 <= top.y0 for picture in axis.artists)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_title_or_label_leaves_the_bands(text):
    spans = pd.DataFrame({"label": [text], "start_seconds": 1.0, "end_seconds": 2.0, "probability": 0.5})
    figure = plot_labels(make_video("v"), spans, title=text)
    render(figure)
    (axis,) = figure.axes
    drawn = [axis.title, *axis.get_yticklabels()]
    boxes = [each.get_window_extent() for each in drawn]
    assert all(figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1) for box in boxes)


def test_what_a_font_has_is_drawn_as_it_is():
    assert fit_text("$5 é Ж", columns=40) == "$5 é Ж"


def test_what_no_font_has_is_spelled():
    assert fit_text("\U00013080 \ue000", columns=40) != "\U00013080 \ue000"
    assert "U+E000" in fit_text("\ue000", columns=40)
