"""`LOAD DATA`: how SingleStore is told to load Parquet files by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import TextClause, text

from videolib.addresses import Secret
from videolib.store.schema import FRAMES, ElementType


def load_statement(
    dimension: int,
    element_type: ElementType,
    folder: str,
    link: str | None,
    config: Mapping[str, Any],
    credentials: Mapping[str, Secret],
) -> tuple[TextClause, dict[str, str]]:
    """Make the statement, and its values, which no message shows; ValueError if SingleStore cannot load from there.

    https://docs.singlestore.com, How to Bulk Load Vectors (the casts), and CREATE PIPELINE (where REPLACE stands).
    """
    if not folder.startswith("s3://"):
        raise ValueError(
            f"folder must be s3://…, which SingleStore loads from, got {folder!r}: export to there"
        )
    if link is not None and not re.fullmatch(r"\w+", link):
        raise ValueError(f"link must be the name of a link, got {link!r}")
    path = f"{folder}/frames/*.parquet"
    if link is None:
        source = "S3 :path CONFIG :config CREDENTIALS :credentials"
        keys = Secret(json.dumps(credentials))
        values = {"path": path, "config": json.dumps(config), "credentials": keys}
    else:
        source, values = f"LINK {link} :path", {"path": path.removeprefix("s3://")}
    names = [column.name for column in FRAMES.columns]
    mapping = ", ".join(f"{'@embedding' if name == 'embedding_data' else name} <- {name}" for name in names)
    statement = text(
        f"LOAD DATA {source} REPLACE INTO TABLE {FRAMES.name} FORMAT PARQUET ({mapping}) "
        f"SET embedding_data = @embedding :> BLOB :> VECTOR({dimension}, {element_type})"
    )
    return statement, values
