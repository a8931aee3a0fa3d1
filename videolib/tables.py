"""`FrameTable`: a table of frames, matches or moments, whose pictures are seen and stay out of text."""

from __future__ import annotations

import math
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from videolib.shown import LONGEST_TEXT, TEXT_COLUMNS, shorten, shorten_id, thumbnail_html
from videolib.times import decimals_to_tell_apart, format_seconds

MOST_PICTURES = 20  # in one table on the screen
TITLE_COLUMNS, SENTENCE_COLUMNS = 20, 80  # of a terminal
Cell: TypeAlias = Callable[[Any], str]
_TIMES = ("timestamp_seconds", "start_seconds", "peak_seconds", "end_seconds")


def _without_pictures(name: str) -> Any:
    """A method of `DataFrame` that writes text, for the columns that text can hold."""
    method: Callable[..., Any] = getattr(pd.DataFrame, name)

    @wraps(method)
    def export(table: pd.DataFrame, *args: Any, **options: Any) -> Any:
        # Whoever names columns gets them, and so does who limits their width.
        is_asked = options.get("columns") is not None or options.get("max_colwidth") is not None
        if (
            not is_asked
            and "frame_data" in table
            and any(isinstance(jpeg, bytes) for jpeg in table["frame_data"])
        ):
            table = table.drop(columns="frame_data")
        return method(table, *args, **options)

    return export


class FrameTable(pd.DataFrame):
    """A DataFrame, but that its JPEGs, `frame_data`, stay out of CSV, JSON and other text, where they are of no use.

    pickle, Parquet and SQL keep them, and so does text where `columns` names them. What is text, such as base64 in
    ``matches.assign(frame_data=[base64.b64encode(jpeg).decode() for jpeg in matches["frame_data"]])``, goes out.
    A notebook shows them small, and times as m:ss; a terminal shows their size.
    """

    @property
    def _constructor(self) -> type[FrameTable]:
        return FrameTable

    to_csv = _without_pictures("to_csv")
    to_excel = _without_pictures("to_excel")  # type: ignore[misc]  # final for type checkers alone
    to_html = _without_pictures("to_html")
    to_json = _without_pictures("to_json")
    to_latex = _without_pictures("to_latex")
    to_markdown = _without_pictures("to_markdown")
    to_string = _without_pictures("to_string")
    to_xml = _without_pictures("to_xml")

    def __repr__(self) -> str:
        if pd.get_option("display.large_repr") == "info":
            return super().__repr__()
        widest = pd.get_option("display.max_colwidth")
        return str(
            pd.DataFrame.to_string(
                self,
                formatters=_of_columns(
                    self, _CELLS | {"title": lambda value: shorten(_printable(str(value)), TITLE_COLUMNS)}
                ),
                max_rows=pd.get_option("display.max_rows"),
                min_rows=pd.get_option("display.min_rows"),
                max_cols=pd.get_option("display.max_columns")
                or None,  # what is too wide is broken, not left out
                max_colwidth=widest and max(widest, SENTENCE_COLUMNS),
                show_dimensions=pd.get_option("display.show_dimensions"),
                line_width=max(pd.get_option("display.width") or 0, _terminal_columns()),
            )
        )

    def _repr_html_(self) -> str | None:
        most = pd.get_option("display.max_rows")
        if not pd.get_option("display.notebook_repr_html") or pd.get_option("display.large_repr") == "info":
            return super()._repr_html_()  # type: ignore[misc, no-any-return]
        seen = self
        if most and len(self) > most:
            most = min(most, pd.get_option("display.min_rows") or most)
            seen = pd.concat([self.head(most // 2), self.tail(most - most // 2)])  # as pandas chooses them
        tell_time = partial(_tell_time, decimals=_decimals(seen))
        mark = secrets.token_hex(8)  # nobody can write it into a title
        with pd.option_context("display.max_colwidth", LONGEST_TEXT):
            html = self._marked(mark).to_html(
                formatters=_of_columns(self, _CELLS | dict.fromkeys(_TIMES, tell_time)),
                max_rows=most,
                max_cols=pd.get_option("display.max_columns"),
                show_dimensions=pd.get_option("display.show_dimensions"),
                notebook=True,
            )
        rows = [int(row) for row in re.findall(f"{mark}:(\\d+);", html)][:MOST_PICTURES]
        pictures = {row: _picture(self.iloc[row], tell_time) for row in rows}
        return re.sub(f"{mark}:(\\d+);", lambda found: pictures.get(int(found[1]), "…"), html)

    def _marked(self, mark: str) -> pd.DataFrame:
        """The table as pandas has it, but for marks where its pictures go."""
        table = pd.DataFrame(self)
        if "frame_data" not in table or table.columns.nlevels > 1 or not table.columns.is_unique:
            return table
        cells = [
            f"{mark}:{row};" if isinstance(value, bytes) else value
            for row, value in enumerate(table["frame_data"])
        ]
        return table.assign(frame_data=pd.Series(cells, index=table.index, dtype=object))


def _of_columns(table: pd.DataFrame, cells: Mapping[Any, Cell]) -> dict[Any, Cell]:
    """How cells are told, by the columns' whole names, such as those of tables side by side."""
    names = {column: column[-1] if isinstance(column, tuple) else column for column in table.columns}
    return {column: cells[name] for column, name in names.items() if name in cells}


def _terminal_columns() -> int:
    return min(TEXT_COLUMNS, shutil.get_terminal_size((TEXT_COLUMNS, 24)).columns)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _decimals(table: pd.DataFrame) -> int:
    columns = [table[name].to_numpy() for name in _TIMES if name in table]
    return decimals_to_tell_apart(each for column in columns for each in column.ravel() if _is_time(each))


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def _tell_time(value: Any, *, decimals: int) -> str:
    return format_seconds(value, decimals=decimals) if _is_time(value) else str(value)


def _tell_array(value: Any) -> str:
    return (
        f"{value.shape} {value.dtype}"
        if isinstance(value, np.ndarray)
        else shorten(str(value), TITLE_COLUMNS)
    )


_CELLS: dict[Any, Cell] = {
    "video_id": lambda value: shorten_id(str(value)),
    "embedding_data": _tell_array,
    "frame_data": lambda value: (
        f"{len(value):,} bytes" if isinstance(value, bytes) else shorten(str(value), 30)
    ),
}


def _picture(row: pd.Series[Any], tell_time: Cell) -> str:
    """Make a row's thumbnail, with its title and time in words."""
    time = next((row[name] for name in ("peak_seconds", "timestamp_seconds") if name in row), None)
    words = [str(row[name]) for name in ("rank", "title") if name in row and str(row[name])]
    words += [] if time is None else [tell_time(time)]
    return thumbnail_html(row["frame_data"], shorten(" · ".join(words))) or "no picture"
