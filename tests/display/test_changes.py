import io
import re

import pandas as pd
import pytest

from videolib import Evaluation, plot_changes

NAMES = ["recall@10", "R1@0.5"]


def made(values: dict[str, float], **others) -> Evaluation:
    """An evaluation in which each query has this recall."""
    per_query = pd.DataFrame(
        {"query": list(values), "relevant": 1, "recall@10": list(values.values()), "R1@0.5": 1.0}
    )
    if "video_id" in others:
        per_query["video_id"] = others.pop("video_id")
    overall = pd.DataFrame({"mean": per_query[NAMES].mean(), "low": 0.0, "high": 1.0, "count": len(values)})
    return Evaluation(overall, per_query, **{"k": 10, "ranked": "frames"} | others)


BEFORE = made({"up": 0.2, "down": 0.9, "same": 0.5, "further up": 0.0, "unknown": float("nan")})
AFTER = made({"up": 0.4, "down": 0.6, "same": 0.5, "further up": 1.0, "unknown": 1.0})


def labels(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_what_changed_stands_in_the_order_of_its_change():
    figure = plot_changes(BEFORE, AFTER, names=("plain", "balanced"))
    assert labels(figure) == ["further up", "up", "down"]
    lines = [tuple(line.get_xdata()) for line in figure.axes[0].lines]
    assert lines == [(0.0, 1.0), (0.2, 0.4), (0.9, 0.6)]
    colors = [line.get_color() for line in figure.axes[0].lines]
    assert colors[0] == colors[1] != colors[2]
    title = figure.get_suptitle()
    assert re.match(r"recall@10\nplain 0.40, balanced 0.62: change \+0.2[23], its 95 % interval ", title)
    assert title.endswith("2 better, 1 worse, 1 the same")


def test_the_largest_changes_are_kept():
    figure = plot_changes(BEFORE, AFTER, most=2)
    assert labels(figure) == ["further up", "down"]
    assert figure.get_suptitle().endswith("The 2 that changed most of 3.")


def test_where_nothing_changed_all_are_shown():
    figure = plot_changes(BEFORE, BEFORE, measure="R1@0.5", title="my title")
    assert len(labels(figure)) == 5
    assert figure.get_suptitle().startswith("my title\n")


def test_a_query_of_several_videos_is_shown_with_each():
    videos = {"video_id": ["a" * 64, "b" * 64], "ranked": "frames_of_video"}
    one, other = (made({"first": 0.1, "second": value}, **dict(videos)) for value in (0.2, 0.3))
    assert labels(plot_changes(one, other)) == ["second · bbbbbbbb"]


def test_long_and_strange_queries_stay_in_the_figure():
    texts = ["a very long description " * 8, "$5 and 日本 🚗", "<b>"]
    figure = plot_changes(made(dict.fromkeys(texts, 0.1)), made(dict.fromkeys(texts, 0.9)))
    figure.savefig(io.BytesIO())
    assert max(len(line) for text in labels(figure) for line in text.splitlines()) <= 45


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after": made({"other": 1.0})}, "must have queries in common"),
        ({"after": made({"up": 1.0}, k=5)}, "must have the same k and ranked"),
        ({"measure": "beauty"}, "measure must be one of recall@10, R1@0.5, got 'beauty'"),
        ({"most": 0}, "most must be 1 or more .* got 0"),
        ({"before": made({"up": float("nan")})}, "at least one query must have recall@10, got 30 and 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, message):
    options = {"before": BEFORE, "after": AFTER} | options
    with pytest.raises(ValueError, match=message):
        plot_changes(options.pop("before"), options.pop("after"), **options)
