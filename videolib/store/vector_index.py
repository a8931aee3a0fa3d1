"""SingleStore's vector index: what kinds and options there are, and how one is built and dropped."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy.exc import DBAPIError

from videolib.errors import StoreError
from videolib.store.connection import Connected, retried
from videolib.store.schema import FRAMES
from videolib.store.videos import stored_model

INDEX_NAME = "embedding_data"
DUPLICATE_INDEX, UNKNOWN_INDEX = 1061, 1091  # MySQL's codes

_CELLS = {"nlist": (1, 65536), "nprobe": (1, 65536)}
_GRAPH = {"M": (1, 2048), "efConstruction": (1, 2**31 - 1), "ef": (1, 2**31 - 1)}
_CODES = {"m": (1, 65536), "nbits": (1, 16)}
# Lowest and highest value of each option; `docs.singlestore.com`, Vector Indexing.
VECTOR_INDEX_TYPES: dict[str, dict[str, tuple[int, int]]] = {
    "AUTO": {},
    "FLAT": {},
    "IVF_FLAT": _CELLS,
    "IVF_PQ": _CELLS | _CODES,
    "IVF_PQFS": _CELLS | {"m": _CODES["m"]},
    "HNSW_FLAT": _GRAPH,
    "HNSW_PQ": _GRAPH | _CODES,
}


class VectorIndexing(Connected):
    """The methods of a store that build and drop its vector index."""

    def create_vector_index(self, kind: str = "AUTO", options: Mapping[str, int] | None = None) -> None:
        """Build an index for approximate search, ``search(..., exact=False)``, on SingleStore.

        Write the frames first: a full table makes a better index faster. Below some millions of frames an
        exact search is fast enough.

        Parameters
        ----------
        kind
            AUTO, FLAT, IVF_FLAT, IVF_PQ, IVF_PQFS, HNSW_FLAT or HNSW_PQ.
        options
            Of the kind: IVF_*: nlist (128), nprobe (8); *_PQ and IVF_PQFS: m (32), which divides the dimension;
            *_PQ: nbits (8); HNSW_*: M (30), efConstruction (40), ef (16).

        Raises
        ------
        ValueError
            If the kind or an option is not one that SingleStore knows.
        StoreError
            If the store is empty or has an index already, or its database is not SingleStore.
        """
        _, dimension = self._check_indexable(has_index=False)
        index_options = write_index_options(kind, options or {}, dimension)
        self._run_unless_done(
            DUPLICATE_INDEX,
            f"OPTIMIZE TABLE {FRAMES.name} FLUSH",
            f"OPTIMIZE TABLE {FRAMES.name} FULL",
            f"ALTER TABLE {FRAMES.name} ADD VECTOR INDEX {INDEX_NAME} (embedding_data) "
            f"INDEX_OPTIONS '{index_options}'",
        )

    def drop_vector_index(self) -> None:
        """Drop the index; StoreError if there is none."""
        self._check_indexable(has_index=True)
        self._run_unless_done(UNKNOWN_INDEX, f"DROP INDEX {INDEX_NAME} ON {FRAMES.name}")

    @retried
    def _check_indexable(self, *, has_index: bool) -> tuple[str, int]:
        """Return the stored model; StoreError where it is not SingleStore that has, or lacks, an index."""
        if not self._database.HAS_VECTOR_INDEX:
            raise StoreError(
                f"{self!r} has no vector index, which SingleStore alone keeps: search it as it is"
            )
        with self._begin() as connection:
            model = stored_model(connection)
            if model is None:
                raise StoreError(f"{self!r} is empty: write frames first")
            rows = connection.exec_driver_sql(f"SHOW INDEX FROM {FRAMES.name}").mappings()
            if (INDEX_NAME in {row["Key_name"] for row in rows}) != has_index:
                remedy = "call create_vector_index first" if has_index else "call drop_vector_index first"
                raise StoreError(f"{self!r} has {'no' if has_index else 'a'} vector index: {remedy}")
            return model

    @retried
    def _run_unless_done(self, done_code: int, *statements: str) -> None:
        """Run definitions, of which the last may be refused because a lost connection had carried it out."""
        with self._begin() as connection:
            for statement in statements:
                try:
                    connection.exec_driver_sql(statement)
                except DBAPIError as error:
                    if getattr(error.orig, "errno", None) != done_code:
                        raise


def write_index_options(kind: str, options: Mapping[str, int], dimension: int) -> str:
    """Check the options of a vector index and write its INDEX_OPTIONS; ValueError if one is wrong."""
    if kind not in VECTOR_INDEX_TYPES:
        raise ValueError(f"kind must be one of {', '.join(VECTOR_INDEX_TYPES)}, got {kind!r}")
    limits = VECTOR_INDEX_TYPES[kind]
    for name, value in options.items():
        if name not in limits:
            known = f"only {', '.join(limits)}" if limits else "none"
            raise ValueError(f"options must be those of {kind}, which takes {known}; got {name!r}")
        lowest, highest = limits[name]
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(
                f"options[{name!r}] must be a whole number from {lowest} to {highest}, got {value!r}"
            )
    if "nprobe" in options and options["nprobe"] > options.get("nlist", 128):
        raise ValueError(
            f"options['nprobe'] must not exceed nlist, {options.get('nlist', 128)}, got {options['nprobe']}"
        )
    if "m" in limits and dimension % options.get("m", 32):
        raise ValueError(
            f"options['m'] must divide the dimension, {dimension}, got {options.get('m', '32, the default')}"
        )
    return json.dumps({"index_type": kind, "metric_type": "DOT_PRODUCT", **options})
