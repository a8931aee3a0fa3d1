"""Draws the picture of the README, docs/search.png: the frames that answer a query, and when they are."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from videolib import ClipEncoder, FrameStore, ingest, open_image, plot_frames, plot_timeline, text_query
from videolib.demo import SAMPLE_VIDEO_PATH

QUERY = "a red car in the city"
TARGET = Path(__file__).parents[1] / "docs" / "search.png"
WIDTH = 1000


def main() -> None:
    """Search the sample video and set the two figures one above the other."""
    encoder = ClipEncoder("demo")
    with tempfile.TemporaryDirectory() as folder:
        store = FrameStore(Path(folder) / "sample.duckdb")
        video = ingest(SAMPLE_VIDEO_PATH, encoder, store)
        everything = store.search(text_query(QUERY, encoder), k=10_000, video_id=video.video_id)
    figures = [
        plot_frames(everything.head(5), title=QUERY),
        plot_timeline(video, everything, k=5, title="similarity over the video's time"),
    ]
    rows = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=WIDTH / figure.get_size_inches()[0])
        rows.append(np.asarray(open_image(buffer.getvalue())))
    width = min(row.shape[1] for row in rows)
    picture = Image.fromarray(np.concatenate([row[:, :width] for row in rows]))
    picture.quantize(128).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
