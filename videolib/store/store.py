"""`FrameStore`: where videos and their frames are kept and searched."""

from __future__ import annotations

from videolib.store.embeddings import Embedded
from videolib.store.marks import Marking
from videolib.store.overview import Overview
from videolib.store.relocating import Relocating
from videolib.store.vector_index import VectorIndexing
from videolib.store.writing import Writing


class FrameStore(Overview, Embedded, Marking, Writing, Relocating, VectorIndexing):
    """Videos and their embedded frames in a database, searched by the database.

    A store holds the embeddings of one model. It is kept in DuckDB, one file without a server, or in
    SingleStore, with the same methods and the same results. What meets a lock, a dropped connection or a
    server that restarts is tried again; writing is atomic, and writing again changes nothing.

    DuckDB's file is made by the first `write_video`, with its folder, and open during an operation only, so that
    several notebooks can share it. One that may only be read is searched all the same. A connection to
    SingleStore that leaves this machine is encrypted and its certificate verified; these options of the URL
    change that: ``ssl_ca=FILE`` (trust this CA instead of the public ones), ``ssl_verify_cert=false`` (do not
    verify), ``ssl_disabled=true`` (do not encrypt). ``vector_data_format=json`` sends embeddings as text.

    Parameters
    ----------
    url
        A SQLAlchemy URL such as ``duckdb:///videos.duckdb`` or
        ``singlestoredb://user:password@host:3306/videos``, or the path of a DuckDB file, or ``:memory:`` for
        one that ends with the store. The default is the environment variable ``SINGLESTOREDB_URL``, else the
        file ``videolib.duckdb`` in the folder that ``VIDEOLIB_DATA_DIR`` names, else in
        ``~/.local/share/videolib``.
    retry_seconds
        How long to go on trying while another process holds the file, or the server is away or locked.
    element_type
        What a new SingleStore database keeps of an embedding's numbers: "F32", all of them, or "F16", half the bytes
        (SingleStore 9.1 and newer). A database that has frames says so itself.
    pictures
        Where the pictures of frames that are written go, instead of into the database: a folder, or an address such
        as ``s3://bucket/frames`` (``pip install s3fs``; gcsfs, adlfs and others for other storages, with keys from
        the environment). Give each store a place of its own. The rows keep the addresses, and every store of this
        database brings the pictures from there, however it was opened; a folder must not move.

    Attributes
    ----------
    pictures
        Where new pictures go; None for the database.
    url
        Without the password, and with the whole path.
    engine
        The SQLAlchemy engine, for SQL of your own. A connection has DuckDB's file open, and locked for others,
        until it is closed; one in autocommit mode, ``isolation_level="AUTOCOMMIT"``, during each statement only, and
        temporary tables and settings end with that. jupysql asks for this mode itself: ``%sql engine``.

    Raises
    ------
    ValueError
        If the URL is not one of a database that videolib knows, or it has no such element type, or pictures is
        no place for files or tells a password.
    StoreError
        If a package is missing that knows the address. From every method, if the database cannot be opened, is not
        safe to connect to, or stays away; on reading, if there is none; on writing, if it may only be read.
    """
