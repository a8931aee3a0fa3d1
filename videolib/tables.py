"""`FrameTable`: a table of frames or matches, whose pictures stay out of text."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pandas as pd


def _without_pictures(name: str) -> Any:
    """A method of `DataFrame` that writes text, for the columns that text can hold."""
    method: Callable[..., Any] = getattr(pd.DataFrame, name)

    @wraps(method)
    def export(table: pd.DataFrame, *args: Any, **options: Any) -> Any:
        # Whoever names columns gets them. pandas' own display limits their width, and goes through to_string.
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
