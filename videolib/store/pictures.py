"""Pictures outside the database: files in a folder or an object storage, whose addresses the rows keep.

A frame_data that begins with `MARK` is no picture, but tells where it lies. The name of a file tells its frame and
its content, so that writing the same again changes nothing, and no row that is there is ever given another picture.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import pandas as pd

from videolib.addresses import Secret, hide_secrets, is_address, printable
from videolib.errors import StoreError

MARK = b"picture-address:"
LONGEST_NAME = 100  # of 255 bytes that a disk takes
ADDRESS_BYTES = 200  # what a row keeps in the place of a picture: about, and rather more than less
# Nothing else is fetched or deleted: a store that somebody else made could name any file.
_ADDRESS = re.compile(r"(?P<root>.+)/(?P<folder>video_id=[^/]+)/\d+-[0-9a-f]{16}\.jpg", re.DOTALL)
_NOT_PLAIN = re.compile(r"[*?\[#]|::")  # means something else to fsspec than a name
_READ_ONLY = {"http", "https", "data"}


def find_root(place: Secret, *, name: str) -> str:
    """Check where files are to lie, and write it as rows have it: without a / at the end, a path absolute.

    The name is that of the argument.

    Raises
    ------
    ValueError
        If it is no folder and no address of files, or has a password in it, which the rows would show.
    StoreError
        If a package is missing that knows such addresses.
    """
    if place.startswith("file://"):
        place = Secret(place.removeprefix("file://"))
    if not is_address(place):
        if not place or printable(place) != place:
            raise ValueError(f"{name} must have a name in UTF-8, got {printable(place)!r}")
        return os.path.abspath(os.path.expanduser(place))
    root = hide_secrets(place)
    kind, _, rest = root.partition("://")
    is_plain = root == place and not _NOT_PLAIN.search(root) and rest.strip("/") != ""
    if not is_plain or kind in _READ_ONLY:
        raise ValueError(
            f"{name} must be a folder, or an address to write to such as s3://bucket/frames, without user, password, "
            f"query, and any of * ? [ # ::, got {root!r}{'' if root == place else ' with more'}: give keys by the "
            "environment, where the storage's own package looks for them"
        )
    root = root.rstrip("/")
    import fsspec

    try:
        fsspec.get_filesystem_class(kind)
    except ImportError as error:
        raise _lacks_package(root, error) from error
    except ValueError as error:
        raise ValueError(f"{name} must be a folder, or an address that fsspec knows, got {root!r}") from error
    return root


def is_outside(frame_data: object) -> bool:
    """Tell whether what a row has in the place of a picture is its address."""
    return isinstance(frame_data, bytes) and frame_data.startswith(MARK)


def write_pictures(root: str, frames: pd.DataFrame) -> pd.DataFrame:
    """Write the pictures of these frames to files, and put their addresses in their place."""
    data = frames["frame_data"].tolist()
    files = {}
    for place, (video_id, number) in enumerate(zip(frames["video_id"], frames["frame_number"], strict=True)):
        if isinstance(data[place], bytes):  # the database says what is wrong with any other
            name = f"{folder_of(video_id)}/{int(number):08d}-{blake2b(data[place], digest_size=8).hexdigest()}.jpg"
            files[name] = data[place]
            data[place] = MARK + f"{root}/{name}".encode()
    system, path = open_root(root)
    try:
        if not system.async_impl:  # those of fsspec that are, are object storages, and have no folders
            for video_id in frames["video_id"].unique():
                system.makedirs(f"{path}/{folder_of(video_id)}", exist_ok=True)
        system.pipe({f"{path}/{name}": jpeg for name, jpeg in files.items()})
    except Exception as error:
        raise StoreError(
            f"pictures must be where files can be written, and {root} is not ({reason_of(error)}): check the address, "
            "and the storage's keys in the environment"
        ) from error
    return frames.assign(frame_data=pd.Series(data, frames.index, dtype=object))


def fetch_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """Put the pictures where rows have their addresses; many are fetched from a storage at the same time.

    Raises
    ------
    StoreError
        If one is gone, or cannot be read.
    """
    data = rows["frame_data"].tolist()
    outside = [each for each in dict.fromkeys(data) if is_outside(each)] if any(map(is_outside, data)) else []
    if not outside:
        return rows
    by_root: dict[str, list[bytes]] = {}
    for each in outside:
        by_root.setdefault(_split(each)[0], []).append(each)
    pictures: dict[bytes, Any] = {}
    for root, some in by_root.items():
        system, path = open_root(root)
        names = [each.decode().removeprefix(MARK.decode() + root) for each in some]
        pictures |= zip(some, system.cat_ranges([path + name for name in names], None, None), strict=True)
    for each, picture in pictures.items():
        if not isinstance(picture, bytes):
            is_gone = isinstance(picture, FileNotFoundError)
            why = "is gone" if is_gone else f"cannot be read ({reason_of(picture)})"
            raise StoreError(
                f"the picture at {each.removeprefix(MARK).decode()} {why}: put the file there, or delete_video the "
                "video and ingest it anew"
            ) from picture
    found = [pictures[each] if is_outside(each) else each for each in data]
    return rows.assign(frame_data=pd.Series(found, rows.index, dtype=object))


def folder_of(video_id: str) -> str:
    """Name a video's folder, whatever its video_id is made of."""
    return f"video_id={file_name_of(video_id)}"


def file_name_of(video_id: str) -> str:
    """Make a part of a file's name of a video_id."""
    name = quote(video_id, safe="@")
    return name if len(name) <= LONGEST_NAME else blake2b(video_id.encode(), digest_size=16).hexdigest()


def video_folder(frame_data: bytes, video_id: str) -> str:
    """Tell in which folder a row of this video has its picture; StoreError if it is not one for this video alone."""
    root, folder = _split(frame_data)
    if folder != folder_of(video_id):
        raise _is_foreign(frame_data)
    return f"{root}/{folder}"


def delete_pictures(folders: Iterable[str]) -> None:
    """Delete the folders of a video, with all that is in them; StoreError if it cannot be done."""
    for folder in folders:
        system, path = open_root(folder)
        try:
            system.rm(path, recursive=True)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise StoreError(
                f"the video is deleted, and its pictures in {folder} are not ({reason_of(error)}): delete them there"
            ) from error


def _split(frame_data: bytes) -> tuple[str, str]:
    """Split an address into root and folder; StoreError if it is none that videolib writes."""
    match = _ADDRESS.fullmatch(frame_data.removeprefix(MARK).decode(errors="replace"))
    if match is None:
        raise _is_foreign(frame_data)
    kind = match["root"].partition("://")[0].lower()
    if is_address(match["root"]) and (_NOT_PLAIN.search(match["root"]) or kind in _READ_ONLY):
        raise _is_foreign(frame_data)
    return match["root"], match["folder"]


def _is_foreign(frame_data: bytes) -> StoreError:
    return StoreError(
        f"the store must hold pictures, or addresses that videolib wrote, got {frame_data[:200]!r}: delete_video the "
        "video, and ingest it anew"
    )


def open_root(root: str) -> tuple[Any, str]:
    """Open what keeps the files at an address: fsspec's file system, and the path there."""
    import fsspec
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(root) if is_address(root) else (fsspec.filesystem("file"), root)
    except ImportError as error:
        raise _lacks_package(root, error) from error
    except Exception as error:
        raise StoreError(f"{root} cannot be reached: {reason_of(error)}") from error


def _lacks_package(root: str, error: ImportError) -> StoreError:
    return StoreError(f"the files at {root} need a package that is not installed: {error}")


def reason_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
