"""A URL becomes a checked local file: a video, or the weights of a CLIP model."""

import hashlib
import os
import re
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from filelock import FileLock
from tqdm.auto import tqdm

from videolib.errors import DownloadError, ModelError

_MAX_BYTES = 4 * 1024**3
_CHUNK_BYTES = 64 * 1024
_CONNECT_SECONDS = 10.0
_RETRY_AFTER_SECONDS = (0.3, 1.0, 3.0, None)
_LFS_POINTER = b"version https://git-lfs"


def download_file(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    max_bytes: int | None = _MAX_BYTES,
    timeout_seconds: float = 30.0,
    progress: bool = True,
) -> Path:
    """Download `url` to `path`; a file already there is kept, unless `sha256` says that it is another.

    What has come stays in `<path>.part` when the download breaks, and the next call goes on from there if
    the server can tell that its file is still the same one. Processes that want one `path` take turns.

    Parameters
    ----------
    url
        An http or https address.
    path
        Where the complete file appears at once; its directories are made.
    sha256
        The expected digest in hexadecimal. Without it the length alone is checked, where the server tells it.
    max_bytes
        The largest file accepted; None for any.
    timeout_seconds
        How long the server may be silent; a connection opens within 10 s of it at most.
    progress
        Show a progress bar.

    Raises
    ------
    ValueError
        `url` is not an http or https address.
    DownloadError
        The file cannot be had, is larger than `max_bytes`, or has another digest.
    """
    path = Path(path)
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(
            f"url must be an http or https address, got {hide_secrets(url)!r}; give a local file by its path"
        )
    if _is_there(path, sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part, note = Path(f"{path}.part"), Path(f"{path}.part.version")
    with FileLock(f"{path}.lock"):
        if _is_there(path, sha256):
            return path
        for wait_seconds in _RETRY_AFTER_SECONDS:
            try:
                _fetch(url, part, note, max_bytes, timeout_seconds, progress)
                break
            except requests.RequestException as error:
                # offline is normal: an answer that broke is worth a wait, a server never reached is not
                worth = part.exists() if error.response is None else error.response.status_code >= 500
                if wait_seconds is None or not worth:
                    raise DownloadError(
                        f"download of {hide_secrets(url)} failed: {_problem(error)}; check the address, allow the "
                        f"host {urlsplit(url).hostname}, or place the file at {path} by hand"
                    ) from None  # the traceback of `error` would show the address with its secrets
                time.sleep(wait_seconds)
        note.unlink(missing_ok=True)
        if sha256 is not None and (actual := _sha256(part)) != sha256.lower():
            part.unlink()
            raise DownloadError(
                f"download of {hide_secrets(url)} must have the SHA-256 {sha256}, got {actual}; try again, "
                f"or place the right file at {path} by hand"
            )
        os.replace(part, path)
    return path


def download_video(
    url: str,
    directory: str | os.PathLike[str] | None = None,
    *,
    max_bytes: int | None = _MAX_BYTES,
    timeout_seconds: float = 30.0,
    progress: bool = True,
) -> Path:
    """Download a video into `directory`, once; its name is the URL's last part and a digest of the URL.

    Only text is told from video here (web pages, JSON, Git LFS pointers): `probe_video` is the proof.

    Parameters
    ----------
    directory
        By default the environment's `VIDEOLIB_CACHE_DIR`, else `~/.cache/videolib/videos`.

    Raises
    ------
    ValueError
        `url` is not an http or https address.
    DownloadError
        As in `download_file`, or the address answers with text or with nothing.
    """
    if directory is None:
        directory = os.environ.get("VIDEOLIB_CACHE_DIR") or "~/.cache/videolib/videos"
    path = Path(directory).expanduser() / _video_name(url)
    download_file(url, path, max_bytes=max_bytes, timeout_seconds=timeout_seconds, progress=progress)
    head = _head(path)
    if not re.search(rb"[\x00-\x08\x0e-\x1f]", head):  # a video has such bytes at its start, a text never
        path.unlink(missing_ok=True)
        raise DownloadError(
            f"{hide_secrets(url)} answers with a web page or other text, not a video file: {head[:40]!r}; "
            "give the address of the file itself, or download it in a browser and give its path"
        )
    return path


def fetch_video(source: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """Give the local file of a video: a path as it is, an http(s) URL by way of `download_video`."""
    text = os.fspath(source)
    return download_video(text, progress=progress) if "://" in text else Path(text)


def clip_weights_path(model: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """The checkpoint file of a CLIP model: as given, else found, else downloaded.

    A name is looked for in the environment's `VIDEOLIB_MODEL_DIR` if set, then in `~/.cache/clip`, and
    downloaded into the first of these; the file's SHA-256 is checked each time, which takes below a second.

    Parameters
    ----------
    model
        A path to a checkpoint, or a name in `clip.available_models()`.

    Raises
    ------
    ValueError
        `model` is neither a file nor a known name.
    ModelError
        The weights cannot be had, or the file found is a Git LFS pointer or has another digest.
    """
    if Path(model).is_file():
        return _checked_weights(Path(model), None)
    from clip.clip import _MODELS  # here, because it imports torch

    if model not in _MODELS:
        raise ValueError(
            f"model must be a checkpoint file or one of {sorted(_MODELS)}, got {os.fspath(model)!r}"
        )
    url = _MODELS[model]
    sha256, name = url.split("/")[-2:]
    given = os.environ.get("VIDEOLIB_MODEL_DIR")
    paths = [Path(directory).expanduser() / name for directory in (given, "~/.cache/clip") if directory]
    for path in paths:
        if path.is_file():
            return _checked_weights(path, sha256)
    try:
        return download_file(url, paths[0], sha256=sha256, progress=progress)
    except DownloadError as error:
        places = " nor in ".join(str(path.parent) for path in paths)
        raise ModelError(
            f"model {model!r} needs {name} with the SHA-256 {sha256}, which is not in {places}: {error}"
        ) from error


def hide_secrets(url: str) -> str:
    """Cut user, password, query and fragment off a URL, for messages and the store; a path stays as it is."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _fetch(
    url: str, part: Path, note: Path, max_bytes: int | None, timeout_seconds: float, progress: bool
) -> None:
    """Complete `part`: go on where it ends if `note` tells its address and version, else begin anew."""
    origin = hashlib.sha256(url.encode()).hexdigest()
    known, _, version = note.read_text().partition(" ") if note.exists() and part.exists() else ("", "", "")
    size = part.stat().st_size if version and known == origin else 0
    headers = {"Accept-Encoding": "identity"}
    if size:
        headers |= {"Range": f"bytes={size}-", "If-Range": version}
    timeout = (min(timeout_seconds, _CONNECT_SECONDS), timeout_seconds)
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code in (206, 416):
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if span is None or int(span[1]) != size or _version(response) != version:
                note.unlink(missing_ok=True)
                raise requests.ConnectionError("the server does not continue its earlier answer")
            total = int(span[2])
        elif response.status_code == 200:
            plain = "Content-Encoding" not in response.headers
            size, total = 0, int(response.headers.get("Content-Length", 0)) if plain else 0
            note.unlink(missing_ok=True)
        else:
            raise requests.HTTPError(response=response)
        bar = tqdm(
            total=total or None, initial=size, unit="B", unit_scale=True, desc=part.stem, disable=not progress
        )
        with bar, open(part, "ab" if size else "wb") as file:
            if not size and _version(response):
                note.write_text(f"{origin} {_version(response)}")
            for chunk in response.iter_content(_CHUNK_BYTES):
                size += len(chunk)
                if max_bytes is not None and max(size, total) > max_bytes:
                    break
                bar.update(file.write(chunk))
    if max_bytes is not None and max(size, total) > max_bytes:
        part.unlink()
        raise DownloadError(
            f"{hide_secrets(url)} must have at most max_bytes={max_bytes} bytes, got {total or size}; raise it"
        )
    if total and size != total:
        raise requests.ConnectionError(f"the answer ended after {size} of {total} bytes")


def _version(response: requests.Response) -> str:
    """The server's name for this version of its file, if it is fit for If-Range (RFC 9110, 13.1.5)."""
    if "Content-Encoding" in response.headers:
        return ""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _problem(error: requests.RequestException) -> str:
    """What went wrong, told without the address, which requests repeats with its secrets."""
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, ValueError):  # InvalidSchema, InvalidURL
        return "it leads to an address that is not http or https"
    cause = error.args[0] if error.args else error
    return str(getattr(cause, "reason", cause))


def _video_name(url: str) -> str:
    segment = re.split(r"[/\\]", unquote(urlsplit(url).path))[-1]
    name = Path(re.sub(r"[^\w.-]", "_", segment).lstrip("."))
    return f"{name.stem[:40] or 'video'}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{name.suffix[:10]}"


def _checked_weights(path: Path, sha256: str | None) -> Path:
    if _head(path).startswith(_LFS_POINTER):
        raise ModelError(
            f"{path} is a Git LFS pointer, not the weights themselves; run `git lfs pull` where it lies"
        )
    if sha256 is not None and (actual := _sha256(path)) != sha256:
        raise ModelError(
            f"{path} must have the SHA-256 {sha256}, got {actual}; delete it to download it again, "
            "or give its path as the model if it is another model"
        )
    return path


def _is_there(path: Path, sha256: str | None) -> bool:
    return path.is_file() and (sha256 is None or _sha256(path) == sha256.lower())


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
