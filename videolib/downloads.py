"""A URL becomes a checked local file."""

import hashlib
import ipaddress
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3
from filelock import FileLock

from videolib.addresses import Secret, hide_secrets, is_address, local_path
from videolib.errors import DownloadError
from videolib.progress import tqdm

_MAX_BYTES = 4 * 1024**3
_CHUNK_BYTES = 64 * 1024
_CONNECT_SECONDS = 10.0
_LEAST_BYTES_PER_SECOND = 1000  # over timeout_seconds: a byte now and then would hold the lock for ever
_RETRY_AFTER_SECONDS = (0.3, 1.0, 3.0, None)


def download_file(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    max_bytes: int | None = _MAX_BYTES,
    timeout_seconds: float = 30.0,
    progress: bool = True,
    stop: threading.Event | None = None,
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
        How long the server may be silent, or send less than 1,000 bytes a second; a connection opens within
        10 s of it at most.
    progress
        Show a progress bar.
    stop
        When another thread sets it the download breaks off.

    Raises
    ------
    ValueError
        `url` is not an http or https address.
    DownloadError
        The file cannot be had, is larger than `max_bytes`, has another digest, or a redirect leads from
        elsewhere to this machine.
    """
    path = local_path(path)
    url = Secret(url)
    if not is_address(url) or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(
            f"url must be an http or https address, got {hide_secrets(url)!r}; give a local file by its path"
        )
    _check_port(url)
    if _is_there(path, sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part, note = Path(f"{path}.part"), Path(f"{path}.part.version")
    with FileLock(f"{path}.lock"):
        if _is_there(path, sha256):
            return path
        for wait_seconds in _RETRY_AFTER_SECONDS:
            try:
                _fetch(url, part, note, max_bytes, timeout_seconds, progress, stop)
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
        if sha256 is not None and (actual := file_sha256(part)) != sha256.lower():
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
    stop: threading.Event | None = None,
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
    path = local_path(directory) / _video_name(url)
    download_file(
        url, path, max_bytes=max_bytes, timeout_seconds=timeout_seconds, progress=progress, stop=stop
    )
    head = read_head(path)
    if is_text(head):
        path.unlink(missing_ok=True)
        raise DownloadError(
            f"{hide_secrets(url)} answers with a web page or other text, not a video file: {head[:40]!r}; "
            "give the address of the file itself, or download it in a browser and give its path"
        )
    return path


def fetch_video(source: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """Give the local file of a video: a path with its ~ written out, an http(s) URL by way of `download_video`."""
    text = os.fspath(source)
    return download_video(text, progress=progress) if is_address(text) else local_path(text)


def read_head(path: Path) -> bytes:
    """Read the first 512 bytes of a file, which tell its kind."""
    with open(path, "rb") as file:
        return file.read(512)


def is_text(head: bytes) -> bool:
    """Tell text from video by its first bytes: a video has control characters there, a text never."""
    return not re.search(rb"[\x00-\x08\x0e-\x1f]", head)


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(
    url: str,
    part: Path,
    note: Path,
    max_bytes: int | None,
    timeout_seconds: float,
    progress: bool,
    stop: threading.Event | None,
) -> None:
    """Complete `part`: go on where it ends if `note` tells its address and version, else begin anew."""
    origin = hashlib.sha256(url.encode()).hexdigest()
    known, _, version = note.read_text().partition(" ") if note.exists() and part.exists() else ("", "", "")
    size = part.stat().st_size if version and known == origin else 0
    headers = {"Accept-Encoding": "identity"}
    if size:
        headers |= {"Range": f"bytes={size}-", "If-Range": version}
    timeout = (min(timeout_seconds, _CONNECT_SECONDS), timeout_seconds)
    hooks = {"response": partial(_check_redirect, may_be_local=_is_local(url))}
    with requests.get(url, headers=headers, stream=True, timeout=timeout, hooks=hooks) as response:
        if response.status_code in (206, 416):
            span = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18})", response.headers.get("Content-Range", ""))
            if span is None or int(span[1]) != size or _version(response) != version:
                note.unlink(missing_ok=True)
                raise requests.ConnectionError("the server does not continue its earlier answer")
            total = int(span[2])
        elif response.status_code == 200:
            plain = "Content-Encoding" not in response.headers
            size, total = 0, _content_length(response) if plain else 0
            note.unlink(missing_ok=True)
        else:
            raise requests.HTTPError(response=response)
        bar = tqdm(
            total=total or None, initial=size, unit="B", unit_scale=True, desc=part.stem, disable=not progress
        )
        with bar, open(part, "ab" if size else "wb") as file:
            if not size and _version(response):
                note.write_text(f"{origin} {_version(response)}")
            for chunk in _chunks(response, timeout_seconds):
                if stop is not None and stop.is_set():
                    raise DownloadError(f"download of {hide_secrets(url)} was stopped; what has come is kept")
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


def _chunks(response: requests.Response, timeout_seconds: float) -> Iterator[bytes]:
    """Read as it comes, and give up where too little comes; `iter_content` waits for full chunks."""
    read = response.raw.read1
    start, count = time.monotonic(), 0
    try:
        while chunk := read(_CHUNK_BYTES, decode_content=True):
            yield chunk
            count += len(chunk)
            if (seconds := time.monotonic() - start) > timeout_seconds:
                if count < _LEAST_BYTES_PER_SECOND * seconds:
                    raise requests.ConnectionError(
                        f"the server sends less than {_LEAST_BYTES_PER_SECOND:,} bytes a second"
                    )
                start, count = time.monotonic(), 0
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def _content_length(response: requests.Response) -> int:
    text = response.headers.get("Content-Length", "0")
    if not re.fullmatch("[0-9]{1,18}", text):
        raise DownloadError(
            f"download of {hide_secrets(response.request.url or '')} failed: the server gives the length as "
            f"{text[:40]!r}, which is no number of bytes; download it in another way and give its path"
        )
    return int(text)


def _check_port(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        port = urlsplit(url).netloc.rpartition("@")[2].rpartition(":")[2]
        raise DownloadError(
            f"download of {hide_secrets(url)} failed: its port must be a number below 65536, got {port[:20]!r}"
        ) from None


def _check_redirect(response: requests.Response, *, may_be_local: bool, **_options: object) -> None:
    """Refuse a redirect that cannot be read, or that leads from elsewhere to this machine or its link.

    A proxy or a name server that answers otherwise the next time can still lead there.
    """
    if not response.is_redirect:
        return
    shown = hide_secrets(response.url)
    try:
        location = response.headers["Location"].encode("latin1").decode()
        target = urljoin(response.url, location)
        host = urlsplit(target).hostname
    except ValueError:
        raise DownloadError(
            f"download of {shown} failed: it leads to an address that cannot be read; give that of the file itself"
        ) from None
    _check_port(target)
    if host and not may_be_local and _is_local(target):
        raise DownloadError(
            f"download of {shown} failed: it leads to {host}, which is this machine or its own network; give "
            "that address itself if you mean it"
        )


def _is_local(url: str) -> bool:
    """Tell whether an address is of this machine (loopback) or of its own link, such as a cloud's metadata."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None, type=socket.SOCK_STREAM)
    except OSError:  # unknown here: a proxy may know it, or nobody
        return False
    addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    addresses = [getattr(each, "ipv4_mapped", None) or each for each in addresses]
    return any(each.is_loopback or each.is_link_local or each.is_unspecified for each in addresses)


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


def _is_there(path: Path, sha256: str | None) -> bool:
    return path.is_file() and (sha256 is None or file_sha256(path) == sha256.lower())
