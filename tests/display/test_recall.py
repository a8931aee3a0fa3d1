import io
import re

import pandas as pd
import pytest

from videolib import Evaluation, plot_recall


def made(k: int, mean: float, low: float = 0.0, high: float = 1.0) -> Evaluation:
    overall = pd.DataFrame(
        {"mean": [mean, 0.5], "low": [low, 0.0], "high": [high, 1.0], "count": 9},
        index=[f"recall@{k}", "average_precision"],
    )
    return Evaluation(overall, pd.DataFrame({"query": ["a"]}), k, "videos")


OURS = [made(5, 0.5, 0.4, 0.55), made(1, 0.2, 0.1, 0.35), made(10, 1.0, 1.0, 1.0 - 1e-16)]


def drawn(figure) -> dict[str, list[tuple[float, float]]]:
    """The points of each series, left to right."""
    axis = figure.axes[0]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    return {
        name: sorted(zip(*container.lines[0].get_data(), strict=True))
        for name, container in zip(names, axis.containers, strict=True)
    }


def test_every_k_has_its_place_and_every_recall_its_interval():
    figure = plot_recall({"ours": OURS}, published={"theirs": {1: 0.3, 10: 0.6}}, title="my title")
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["recall@1", "recall@5", "recall@10"]
    points = drawn(figure)
    assert [round(x) for x, _ in points["ours"]] == [0, 1, 2]
    assert [y for _, y in points["ours"]] == [0.2, 0.5, 1.0]
    assert [round(x) for x, _ in points["theirs"]] == [0, 2]
    assert [y for _, y in points["theirs"]] == [0.3, 0.6]
    assert points["ours"][0][0] < points["theirs"][0][0]  # side by side, not one over the other
    bars = sorted(path.vertices[:, 1].tolist() for path in axis.containers[0].lines[2][0].get_paths())
    assert [[round(each, 9) for each in bar] for bar in bars] == [[0.1, 0.35], [0.4, 0.55], [1.0, 1.0]]
    assert not axis.containers[1].lines[2]
    assert axis.get_title() == "my title"
    alt = "Recall@1, 5, 10: my title. ours 0.500, 0.200, 1.000; theirs 0.300, 0.600"
    assert figure.alt_text == alt
    figure.savefig(io.BytesIO())


def test_rankings_are_told_apart():
    figure = plot_recall({"one": OURS[:1], "an$other$": OURS[:1]})
    assert len({line.lines[0].get_color() for line in figure.axes[0].containers}) == 2
    assert list(drawn(figure)) == ["one", "an$other$"]
    assert figure.axes[0].get_title() == ""


@pytest.mark.parametrize(
    ("ours", "published", "got"),
    [
        ({}, None, "0 and recalls of []"),
        ({"ours": []}, {"theirs": {1: 0.3}}, "0 and recalls of [0.3]"),
        ({"ours": OURS[:1]}, {"theirs": {1: 31.2}}, "1 and recalls of [0.5, 31.2]"),
        ({"ours": [made(1, float("nan"))]}, None, "1 and recalls of [nan]"),
    ],
)
def test_nothing_to_show_and_percent_are_refused(ours, published, got):
    message = f"evaluations must hold one or more, and each recall be from 0 to 1, got {got}"
    with pytest.raises(ValueError, match=re.escape(message)):
        plot_recall(ours, published=published)
