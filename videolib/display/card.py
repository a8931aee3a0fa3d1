"""`save_card`: what was found, as one HTML file that opens anywhere."""

from __future__ import annotations

import os
from datetime import datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import pandas as pd

from videolib.addresses import printable
from videolib.display.card_timeline import draw_timelines
from videolib.display.told import stored_videos, tell_found
from videolib.folders import written_whole
from videolib.images import decode_jpeg, encode_jpeg
from videolib.shown import jpeg_address, shorten
from videolib.times import decimals_to_tell_apart, format_seconds, format_span

if TYPE_CHECKING:
    from videolib.store import FrameStore

MOST_MOMENTS = 60  # with what else is in the file, under 2 MB
PICTURE_BYTES = 1_200_000  # of all pictures together, as they stand in the file
PICTURE_SIZES = ((480, 85), (360, 75), (240, 70), (160, 60), (120, 40))  # long side and quality
QUERY_LENGTH, TITLE_LENGTH, SENTENCE_LENGTH = 500, 200, 300  # characters
TIMES = ["start_seconds", "peak_seconds", "end_seconds"]
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def save_card(
    moments: pd.DataFrame,
    to: str | os.PathLike[str],
    *,
    store: FrameStore | None = None,
    query: npt.ArrayLike | None = None,
    query_text: str = "",
) -> None:
    """Write moments to one HTML file, to be sent, printed or kept: pictures, times, timeline and how sure it is.

    The file needs no other one, no network and no script, stays under 2 MB, and fits a telephone and a light or dark
    screen. It is written whole or not at all. What was found in a file of yours is in it by title, not by path.

    Parameters
    ----------
    moments
        As `find_moments` gives them, in the order of the rows, 60 at most; where `judge` has added p_value, found
        and sentence, the card tells how sure each is. Without rows it says that nothing was found.
    to
        The .html file to write.
    store
        The store that they were found in: it has the pictures, where the moments lack them, the videos' lengths
        and the model's name.
    query
        (d,) embedding that they were found by: the timeline shows its similarity, too. It needs the store.
    query_text
        What was looked for, in words.

    Raises
    ------
    ValueError
        If a column is missing, `query` comes without the store or does not fit it, or `to` is no .html in a folder
        that exists.
    StoreError
        If a video is not in the store any more.
    """
    target = Path(to)
    if target.suffix.lower() not in (".html", ".htm") or not target.parent.is_dir():
        raise ValueError(f"to must be the path of an .html file in a folder that exists, got {target}")
    if query is not None and store is None:
        raise ValueError("query must come with store, which has the similarities: pass store, too")
    rows = _take(moments, store)
    videos = pd.DataFrame(columns=["video_id"]) if store is None else stored_videos(rows, store)
    heading = _text(query_text, QUERY_LENGTH)
    parts = [
        f"<h1><bdi>{f'“{heading}”' if heading else 'Moments'}</bdi></h1>",
        f'<p class="verdict">{escape(_verdict(moments))}</p>',
        draw_timelines(rows, videos, store, query),
        f"<ol>{''.join(_list_moments(rows))}</ol>" if len(rows) else "",
        f"<footer>{_tell_origin(videos, left_out=len(moments) - len(rows))}</footer>",
    ]
    css = Path(__file__).with_name("card.css").read_text(encoding="utf-8")
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{heading or 'Moments'}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )
    with written_whole(target) as part:
        part.write_text(html, encoding="utf-8")


def _take(moments: pd.DataFrame, store: FrameStore | None) -> pd.DataFrame:
    """The moments that are shown, with their pictures."""
    needed = [*TIMES, *(["frame_data"] if store is None else ["video_id", "frame_number"])]
    if missing := [name for name in needed if name not in moments]:
        raise ValueError(
            f"moments must have the columns {', '.join(needed)}; missing: {', '.join(missing)}"
            + ("; pass store, which has the pictures" if "frame_data" in missing else "")
        )
    rows = pd.DataFrame(moments).head(MOST_MOMENTS).reset_index(drop=True)
    known = rows["frame_data"] if "frame_data" in rows else pd.Series(None, index=rows.index, dtype=object)
    lacking = known.isna()
    if store is not None and lacking.any():
        found = store.add_pictures(rows.loc[lacking, ["video_id", "frame_number"]])["frame_data"]
        known = known.astype(object).mask(lacking, pd.Series(found.tolist(), index=rows.index[lacking]))
    return rows.assign(frame_data=known)


def _verdict(moments: pd.DataFrame) -> str:
    """Say in a sentence what came out."""
    count = len(moments)
    is_judged = "found" in moments and ("p_value" not in moments or moments["p_value"].notna().any())
    if not count:
        sure = ": what is described is probably not in what was searched" if "found" in moments else ""
        return f"Nothing was found{sure}."
    if not is_judged:
        return f"{count} moment{'s' * (count != 1)}"
    return f"{tell_found(moments)} from unrelated descriptions."


def _list_moments(rows: pd.DataFrame) -> list[str]:
    decimals = decimals_to_tell_apart(rows[TIMES].to_numpy(float).ravel())
    share = PICTURE_BYTES // max(1, len(rows))
    return [_tell_moment(row, decimals, share) for row in rows.to_dict("records")]


def _tell_moment(moment: dict[Any, Any], decimals: int, share: int) -> str:
    peak = format_seconds(moment["peak_seconds"], decimals=decimals)
    span = format_span(moment["start_seconds"], moment["end_seconds"], decimals=decimals)
    rank = _text(str(moment.get("rank", "")), TITLE_LENGTH)
    title = _text(moment.get("title"), TITLE_LENGTH)
    alt = " · ".join(filter(None, [rank, title, f"at {peak}"]))
    sure = [_text(moment.get("sentence"), SENTENCE_LENGTH)]
    sure += [f"p&nbsp;=&nbsp;{moment['p_value']:.3f}"] if pd.notna(moment.get("p_value")) else []
    sure += [f"similarity {moment['similarity']:.3f}"] if pd.notna(moment.get("similarity")) else []
    return (
        f"<li>{_picture(moment['frame_data'], alt, share)}"
        f"<p><b>{f'{rank} · ' if rank else ''}{span}</b>, peak&nbsp;{peak}</p>"
        + (f"<p><bdi>{title}</bdi></p>" if title else "")
        + f'<p class="quiet">{" · ".join(filter(None, sure))}</p></li>'
    )


def _picture(jpeg: object, alt: str, share: int) -> str:
    """A picture of at most so many bytes of HTML, the stored one where that fits; `alt` is escaped already."""
    try:
        image = decode_jpeg(jpeg if isinstance(jpeg, bytes) else b"")
    except ValueError:
        return f'<div class="none">No picture is stored of {alt}</div>'
    assert isinstance(jpeg, bytes)
    coded = [jpeg] if jpeg.startswith(b"\xff\xd8") and len(jpeg) <= share * 3 // 4 else []
    for long_side, quality in [] if coded else PICTURE_SIZES:
        coded.append(encode_jpeg(image, long_side=long_side, quality=quality))
        if len(coded[-1]) <= share * 3 // 4:
            break
    height, width = image.shape[:2]
    return f'<img alt="{alt}" width="{width}" height="{height}" src="{jpeg_address(coded[-1])}">'


def _tell_origin(videos: pd.DataFrame, *, left_out: int) -> str:
    model = f"Model {_text(videos['model'].iloc[0], TITLE_LENGTH)}. " if len(videos) else ""
    try:
        program = f"videolib {version('videolib')}"
    except PackageNotFoundError:  # it is used where it was unpacked
        program = "videolib"
    rest = f"{left_out:,} more moment{'s are' if left_out > 1 else ' is'} left out here. " if left_out else ""
    date = datetime.now().astimezone().strftime("%Y-%m-%d")
    return f'<p class="quiet">{rest}{model}Made with {program} on {date}.</p>'


def _text(value: object, most: int) -> str:
    """A person's words, no longer than so, made fit for HTML; empty where there are none."""
    return escape(shorten(printable(value).strip(), most)) if isinstance(value, str) else ""
