"""The explorer's two sides: the widget in a living notebook, and the same answer as HTML where there is no kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
from IPython.display import display

from videolib.display.explorer_marks import keep_mark
from videolib.display.explorer_search import Answer, Asked, Marks, Searcher, as_marks
from videolib.display.told import tell_found
from videolib.images import decode_jpeg, encode_jpeg
from videolib.shown import jpeg_address
from videolib.times import decimals_to_tell_apart, format_seconds, format_span

THUMBNAIL_LONG_SIDE = 240
KEPT_THUMBNAILS = 500  # some 10 MB with the pictures that they are made of


class Explorer(anywidget.AnyWidget):
    """What `explore` returns: a search that answers while one types, in a cell's output.

    Attributes
    ----------
    query
        What is looked for, by the names of `explore`'s parameters. Set a text, or some of the parts as a dict, and it
        is searched for at once, here and on the screen.
    moments
        What was found, as `find_moments` gives it, with the verdict's p_value, found and sentence, which are about
        the text alone.
    marks
        Columns video_id, frame_number, right: the moments that were marked for this text and image. Set it, and
        the answer is refined. What is marked on the screen for a text alone is kept in the store, too (`read_marks`).
    """

    _esm = "\n".join(
        Path(__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("explorer_fields.js", "explorer.js")
    )
    _css = Path(__file__).with_name("explorer.css")

    def __init__(self, searcher: Searcher, asked: Asked) -> None:
        super().__init__()
        self._searcher, self._asked = searcher, asked
        self._all_marks: dict[tuple[Any, ...], Marks] = {}
        self._seconds: dict[tuple[str, int], float] = {}  # of what was marked on the screen
        self._unkept = ""  # why the last mark is not in the store
        self._answer = searcher.find(asked, {})
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        count = len(self._answer.moments)
        return f"Explorer({self._asked.query_text!r}, {count} moment{'s' * (count != 1)})"

    @property
    def query(self) -> dict[str, Any]:
        asked = self._asked
        is_several = isinstance(asked.video_id, tuple)
        return vars(asked) | {"video_id": asked.video_ids if is_several else asked.video_id}

    @query.setter
    def query(self, query: str | dict[str, Any]) -> None:
        changes = {"query_text": query} if isinstance(query, str) else dict(query)
        self._search(self._asked.changed(**changes))
        self._show()

    @property
    def moments(self) -> pd.DataFrame:
        return self._answer.moments

    @property
    def marks(self) -> pd.DataFrame:
        rows = [(*key, right) for key, right in self._marks.items()]
        return pd.DataFrame(rows, columns=["video_id", "frame_number", "right"])

    @marks.setter
    def marks(self, table: pd.DataFrame) -> None:
        self._search(self._asked, as_marks(table))
        self._show()

    @property
    def _marks(self) -> Marks:
        return self._all_marks.get(self._asked.content, {})

    def _search(self, asked: Asked, marks: Marks | None = None) -> None:
        """Find the answer; what was there before stays if that fails."""
        marks = self._all_marks.get(asked.content, {}) if marks is None else marks
        self._answer = self._searcher.find(asked, marks)
        self._asked = asked
        self._all_marks[asked.content] = marks

    def _receive(self, _: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Do what the browser asks for; it sends the next request after `done`, so that only the last key counts."""
        request = content.get("id")
        try:
            self._do(content, [bytes(each) for each in buffers], request)
        except (
            Exception
        ) as error:  # whatever it is, who typed has to see it, and the kernel's log is out of sight
            kind = (
                "" if str(error).strip() and not isinstance(error, KeyError) else f"{type(error).__name__}: "
            )
            self.send({"kind": "error", "text": f"{kind}{error}"})
        finally:
            self.send({"kind": "done", "id": request})

    def _do(self, content: dict[str, Any], buffers: list[bytes], request: Any) -> None:
        match content["kind"]:
            case "hello":
                self._send_videos()
            case "search":
                self._search(self._asked.changed(**content["changes"]))
            case "picture":
                self._search(self._asked.changed(query_image=buffers[0] if buffers else None))
            case "like":
                self._search(self._asked.changed(query_image=self._moment(content)["frame_data"]))
            case "mark":
                self._mark(self._moment(content), content["right"])
            case "forget":
                self._search(self._asked, {})
            case "curve":
                self._send_curve(content["video_id"])
            case "play":
                self._send_clip(self._moment(content), request)
            case kind:
                raise ValueError(f"kind must be one that explorer.js sends, got {kind!r}: run the cell again")
        if content["kind"] not in ("curve", "play"):
            self._show(request)

    def _moment(self, content: dict[str, Any]) -> dict[Any, Any]:
        moments = self._answer.moments
        key = (content["video_id"], content["frame_number"])
        rows = moments[(moments["video_id"] == key[0]) & (moments["frame_number"] == key[1])]
        if rows.empty:
            raise ValueError("the moment must be one of the answer, and that has changed: choose again")
        moment: dict[Any, Any] = rows.iloc[0].to_dict()
        return moment

    def _mark(self, moment: dict[Any, Any], right: bool | None) -> None:
        marks = {key: was for key, was in self._marks.items() if not self._lies_in(key, moment)}
        if right is not None:
            key = (str(moment["video_id"]), int(moment["frame_number"]))
            marks[key] = bool(right)
            self._seconds[key] = float(moment["peak_seconds"])
        if self._asked.is_text_alone:  # what a mark in a store is about
            self._unkept = keep_mark(self._searcher.store, self._asked.query_text.strip(), moment, right)
        self._search(self._asked, marks)

    def _lies_in(self, key: tuple[str, int], moment: dict[Any, Any]) -> bool:
        """Whether a marked frame belongs to a moment: refined, its peak may be another frame."""
        if key[0] != moment["video_id"]:
            return False
        seconds = self._seconds.get(key, math.nan)
        is_within = bool(moment["start_seconds"] <= seconds <= moment["end_seconds"])
        return is_within or key[1] == moment["frame_number"]

    def _show(self, request: Any = None) -> None:
        """Send the answer to the screen: pictures as bytes, after them the curve of the best moment's video."""
        moments = self._answer.moments.to_dict("records")
        pictures = [shrink(moment["frame_data"]) for moment in moments]
        image = self._asked.query_image
        asked = {name: part for name, part in self.query.items() if name != "query_image"}
        answer = {
            "kind": "answer",
            "id": request,
            "model_id": self.model_id,
            "asked": asked | {"has_image": image is not None},
            "moments": [self._tell(moment) for moment in moments],
            "summary": summarize(self._asked, self._answer),
            "notes": [note for note in (*self._answer.notes, self._unkept) if note],
            "mark_count": len(self._marks),
        }
        self.send(answer, buffers=([shrink(image)] if image else []) + pictures)
        self._unkept = ""
        if moments:
            self._send_curve(moments[0]["video_id"])

    def _tell(self, moment: dict[Any, Any]) -> dict[str, Any]:
        names = (
            "video_id",
            "title",
            "start_seconds",
            "peak_seconds",
            "end_seconds",
            "similarity",
            "sentence",
        )
        marked = [right for key, right in self._marks.items() if self._lies_in(key, moment)]
        return {name: moment[name] for name in names} | {
            "rank": int(moment["rank"]),
            "frame_number": int(moment["frame_number"]),
            "found": bool(moment["found"]),
            "times": tell_span(moment),
            "mark": marked[-1] if marked else None,
        }

    def _send_videos(self) -> None:
        videos = self._searcher.store.list_videos()
        videos = videos[videos["latest"].astype(bool)]
        self.send({"kind": "videos", "videos": videos[["video_id", "title"]].to_dict("records")})

    def _send_curve(self, video_id: str) -> None:
        if self._answer.query is not None:
            seconds, values = self._searcher.curve(self._answer.query, video_id)
            self.send({"kind": "curve", "video_id": video_id, "seconds": seconds, "similarities": values})

    def _send_clip(self, moment: dict[Any, Any], request: Any) -> None:
        played = self._searcher.play(moment)
        self.send(
            {
                "kind": "slides" if played.sentence else "clip",
                "id": request,
                "video_id": moment["video_id"],
                "frame_number": int(moment["frame_number"]),
                "begin_seconds": played.begin_seconds,
                "stop_seconds": played.stop_seconds,
                "sentence": played.sentence,
            },
            buffers=list(played.data),
        )

    def _ipython_display_(self) -> None:
        # A widget's own text/html is not shown where its model is missing, so the answer is an output of its own;
        # explorer.js hides it as soon as the kernel has answered.
        html = f'<div class="videolib-static-{self.model_id}">{as_html(self._asked, self._answer)}</div>'
        display({"text/html": html, "text/plain": as_text(self._asked, self._answer)}, raw=True)  # type: ignore[no-untyped-call]
        data, metadata = self._repr_mimebundle_()  # type: ignore[misc]
        display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=KEPT_THUMBNAILS)
def shrink(jpeg: bytes) -> bytes:
    return encode_jpeg(decode_jpeg(jpeg), long_side=THUMBNAIL_LONG_SIDE)


def tell_span(moment: dict[Any, Any]) -> str:
    times = moment["start_seconds"], moment["end_seconds"]
    return format_span(*times, decimals=decimals_to_tell_apart(times))


def summarize(asked: Asked, answer: Answer) -> str:
    """Say in a sentence what came out."""
    count = len(answer.moments)
    if answer.query is None:
        return "Type what to look for, in English, or choose a picture."
    if not count:
        return "No moments: there are no frames in what is searched."
    if not asked.query_text.strip():
        return f"{count} moment{'s' * (count != 1)} that look{'s' * (count == 1)} like the picture"
    return tell_found(answer.moments)


def describe(asked: Asked) -> str:
    """What is looked for, in words."""
    words = [f"“{asked.query_text.strip()}”"] if asked.query_text.strip() else []
    words += ["a picture"] if asked.query_image else []
    without = f" without “{asked.without_text.strip()}”" if words and asked.without_text.strip() else ""
    return " and ".join(words) + without + (describe_place(asked) if words else "")


def describe_place(asked: Asked) -> str:
    """Which videos, and which part of them, in words; empty for all of it."""
    ids, (start, end) = asked.video_ids, asked.span
    words = [f"in {len(ids)} video{'s' * (len(ids) != 1)}"] if ids else []
    decimals = decimals_to_tell_apart(each for each in asked.span if each is not None)
    words += [f"from {format_seconds(start, decimals=decimals)}"] if start is not None else []
    words += [f"up to {format_seconds(end, decimals=decimals)}"] if end is not None else []
    return f" {' '.join(words)}" if words else ""


def as_text(asked: Asked, answer: Answer) -> str:
    """The answer for a terminal."""
    lines = [": ".join(filter(None, [describe(asked), summarize(asked, answer)]))]
    for moment in answer.moments.to_dict("records"):
        parts = [tell_span(moment), str(moment["title"]), moment["sentence"]]
        lines.append(f"{moment['rank']}. " + " · ".join(filter(None, parts)))
    return "\n".join(lines)


def as_html(asked: Asked, answer: Answer) -> str:
    """The answer as HTML that needs nothing else and that JupyterLab shows of a file it does not trust, too."""
    cards = []
    for moment in answer.moments.to_dict("records"):
        picture = jpeg_address(shrink(moment["frame_data"]))
        title, sentence = escape(str(moment["title"])), escape(moment["sentence"])
        cards.append(
            '<div style="display: inline-block; vertical-align: top; width: 200px; margin: 0 10px 10px 0">'
            f'<img src="{picture}" width="200" '
            f'alt="{moment["rank"]}: {title} at {format_seconds(moment["peak_seconds"])}">'
            f"<div><b>{tell_span(moment)}</b> {title}</div><div>{sentence}</div></div>"
        )
    heading = ": ".join(filter(None, [escape(describe(asked)), escape(summarize(asked, answer))]))
    notes = "".join(f"<p>{escape(note)}</p>" for note in answer.notes)
    return f"<p>{heading}</p>{notes}<div>{''.join(cards)}</div>"
