"""The explorer in JupyterLab: ``python -m benchmarks.explorer`` types and clicks in Chromium, and takes its pictures.

From the last key to the pictures on the screen: 20 texts on the sample video, then on a store of 100,000 frames of
random embeddings; from a click to a moving picture: 20 moments of the sample video, 1080p. Each text is new, each clip
is cut anew. Needs ``make browser``. ``--pictures`` takes those of docs/ instead: light, dark, and 600 pixels wide.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.lab import FIRST_RUN_MS, find_browser, open_notebook, run_all, running_lab
from videolib import ClipEncoder, FrameStore, Video, ingest, normalize
from videolib.demo import SAMPLE_VIDEO_PATH
from videolib.images import encode_jpeg

DOCS = Path(__file__).parents[1] / "docs"
QUERY = "a red car in the city"
CELL = """import warnings; warnings.simplefilter("ignore")
from videolib import ClipEncoder, FrameStore, explore
explorer = explore(FrameStore({store!r}), ClipEncoder("demo", device="cpu"), query_text={query!r})
explorer"""
# From the event of the key until all pictures of the answer are decoded, and drawn in the next frame.
TYPE = """text => new Promise(resolve => {
    const root = document.querySelector('.videolib'), input = root.querySelector('input[type=search]');
    const before = Number(root.dataset.answers), began = performance.now();
    const look = async () => {
        const images = [...root.querySelectorAll('.pick img')];
        const isThere = Number(root.dataset.answers) > before && images.length;
        if (!isThere || !images.every(each => each.complete && each.naturalWidth)) return setTimeout(look, 4);
        await Promise.all(images.map(each => each.decode()));
        requestAnimationFrame(() => resolve(performance.now() - began));
    };
    input.value = text;
    input.dispatchEvent(new Event('input', {bubbles: true}));
    look();
})"""
# From the click until the player's time has moved on from where the moment begins.
CLICK = """place => new Promise(resolve => {
    const root = document.querySelector('.videolib'), began = performance.now();
    const old = root.querySelector('video');
    let first = null;
    const look = () => {
        const video = root.querySelector('video');
        if (video && video !== old && !video.seeking && video.readyState >= 2) {
            first ??= video.currentTime;
            if (video.currentTime > first) return resolve(performance.now() - began);
        }
        setTimeout(look, 4);
    };
    root.querySelectorAll('.pick')[place].click();
    look();
})"""
THINGS = ["car", "boat", "tree", "dog"]
KINDS = ["red", "blue", "green", "yellow", "white", "black", "old", "new", "big", "small"]
TEXTS = [f"a {kind} {thing}" for thing in THINGS for kind in KINDS]


def write_large(store: FrameStore, model: str, dimension: int) -> None:
    """Write 20 videos of 5,000 frames each, with pictures of some 7 kB."""
    chance = np.random.default_rng(2)
    small = [chance.integers(0, 255, (4, 6, 3), dtype=np.uint8) for _ in range(100)]
    pictures = [
        encode_jpeg(np.asarray(Image.fromarray(each).resize((480, 270), Image.Resampling.BICUBIC)))
        for each in small
    ]
    places = np.arange(5000)
    for number in range(20):
        video = Video(f"video{number:02}", f"talk {number}", "absent.mp4", 5000.0, 1920, 1080, 30.0)
        frames = pd.DataFrame(
            {"video_id": video.video_id, "frame_number": places + 1, "timestamp_seconds": places + 0.0}
        )
        frames["embedding_data"] = list(
            normalize(chance.standard_normal((5000, dimension), dtype=np.float32))
        )
        frames["frame_data"] = [pictures[place % 100] for place in places]
        store.write_video(video, model=model, dimension=dimension, every_seconds=1.0)
        store.write_frames(frames)
        store.mark_complete(video.video_id)


@contextmanager
def explorer_of(store: FrameStore) -> Iterator[Page]:
    """Open JupyterLab on a notebook that explores this store, and run it."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CELL.format(store=store.url, query=QUERY))]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        nbformat.write(notebook, folder / "explore.ipynb")
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        with running_lab(folder) as lab:
            page = open_notebook(browser, lab, "explore.ipynb")
            run_all(page)
            page.locator(".videolib .pick img").first.wait_for(timeout=FIRST_RUN_MS)
            page.wait_for_timeout(2000)
            yield page
        browser.close()


def tell(what: str, milliseconds: list[float]) -> None:
    median, worst = statistics.median(milliseconds), max(milliseconds)
    print(f"{what}: median {median:.0f} ms, worst {worst:.0f} of {len(milliseconds)}", flush=True)


def type_texts(page: Page) -> list[float]:
    for text in TEXTS[30:33]:
        page.evaluate(TYPE, text)
    milliseconds = []
    for text in TEXTS[:20]:
        page.wait_for_timeout(400)
        milliseconds.append(page.evaluate(TYPE, text))
    return milliseconds


def click_moments(page: Page) -> list[float]:
    """Click 20 moments, each at times that were not clicked yet: a clip that was cut is kept."""
    milliseconds: dict[str, float] = {}
    page.get_by_label("How many").fill("20")
    for text in [
        "a car",
        "a boat",
        "a tree",
        "a house",
        "a bird",
        "a flower",
        "a star",
        "a cup",
        "a fish",
        "a cat",
    ]:
        page.evaluate(TYPE, text)
        page.wait_for_timeout(1000)
        for place, card in enumerate(page.locator(".videolib li").all()):
            times = card.locator("b").inner_text()
            if times not in milliseconds and len(milliseconds) < 20:
                milliseconds[times] = page.evaluate(CLICK, place)
                page.wait_for_timeout(300)
    return list(milliseconds.values())


def take_pictures(page: Page) -> None:
    """Take the explorer light, dark and narrow, with a moment that plays and one that is marked."""
    root = page.locator(".videolib")
    page.evaluate(TYPE, QUERY)
    for name, theme, width in (
        ("explore", "Light", 1100),
        ("explore_dark", "Dark", 1100),
        ("explore_narrow", "Light", 600),
    ):
        page.set_viewport_size({"width": width, "height": 1100})
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})",
            f"JupyterLab {theme}",
        )
        page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        page.evaluate(CLICK, 0)
        page.wait_for_timeout(1500)
        path = DOCS / f"{name}.png"
        root.screenshot(path=path)
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pictures", action="store_true", help="take the pictures of docs/, and measure nothing"
    )
    arguments = parser.parse_args()
    encoder = ClipEncoder("demo", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        sample, large = (FrameStore(Path(name) / f"{each}.duckdb") for each in ("sample", "large"))
        ingest(SAMPLE_VIDEO_PATH, encoder, sample, progress=False)
        with explorer_of(sample) as page:
            if arguments.pictures:
                take_pictures(page)
                return
            tell("last key to pictures, sample video", type_texts(page))
            tell("click to moving picture, 1080p", click_moments(page))
        write_large(large, encoder.model, encoder.dimension)
        with explorer_of(large) as page:
            tell("last key to pictures, 100,000 frames", type_texts(page))


if __name__ == "__main__":
    main()
