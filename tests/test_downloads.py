import gzip
import re
import socket
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.file_server import BODY, LFS_POINTER, OTHER, FileServer, Reply, refusing_url, sha256
from videolib import downloads
from videolib.addresses import Secret, hide_secrets, is_address
from videolib.downloads import download_file, download_video, fetch_video
from videolib.errors import DownloadError

CUT = 200_000
OLD_DATE, NEW_DATE = "Mon, 05 Jan 2026 10:00:00 GMT", "Tue, 06 Jan 2026 10:00:00 GMT"


def broken_off(server: FileServer, path: Path, reply: Reply) -> str:
    """Leave a part at `path`, as a call does whose server goes away in the middle; returns the URL."""
    url = server.add("/film.mp4", reply, Reply(status=404))
    with pytest.raises(DownloadError):
        download_file(url, path, progress=False)
    server.requests.clear()
    return url


def test_complete_file_is_all_that_is_left_with_its_lock(server: FileServer, tmp_path: Path) -> None:
    path = download_file(server.add("/film.mp4", Reply(BODY, etag='"1"')), tmp_path / "new" / "film.mp4")
    assert path.read_bytes() == BODY
    assert {entry.name for entry in path.parent.iterdir()} <= {"film.mp4", "film.mp4.lock"}


def test_progress_counts_bytes(server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    download_file(server.add("/film.mp4", Reply(BODY)), tmp_path / "film.mp4")
    assert "film.mp4: 100%" in capfd.readouterr().err


def test_progress_can_be_silent(
    server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    download_file(server.add("/film.mp4", Reply(BODY)), tmp_path / "film.mp4", progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("version", "named"), [({"etag": '"1"'}, '"1"'), ({"last_modified": OLD_DATE}, OLD_DATE)]
)
def test_cut_body_is_resumed(server: FileServer, tmp_path: Path, version: dict[str, str], named: str) -> None:
    url = server.add("/film.mp4", Reply(BODY, cut_after=CUT, **version), Reply(BODY, **version))
    path = download_file(url, tmp_path / "film.mp4", sha256=sha256(BODY), progress=False)
    assert path.read_bytes() == BODY
    first, second = server.requests
    assert "Range" not in first
    assert 0 < int(second["Range"].removeprefix("bytes=").removesuffix("-")) <= CUT
    assert second["If-Range"] == named


def test_later_call_resumes_what_an_earlier_one_left(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    url = broken_off(server, path, Reply(BODY, etag='"1"', cut_after=CUT))
    server.add("/film.mp4", Reply(BODY, etag='"1"'))
    assert download_file(url, path, progress=False).read_bytes() == BODY
    assert "Range" in server.requests[0]


def test_ranges_shorter_than_asked_for_are_joined(server: FileServer, tmp_path: Path) -> None:
    reply = Reply(BODY, etag='"1"', longest_range=60_000)
    url = server.add("/film.mp4", Reply(BODY, etag='"1"', cut_after=CUT), reply)
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY


@pytest.mark.parametrize("honours_if_range", [True, False])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"etag": '"1"'}, {"etag": '"2"'}),
        ({"last_modified": OLD_DATE}, {"last_modified": NEW_DATE}),
        ({"etag": 'W/"1"'}, {"etag": 'W/"1"'}),
        ({"etag": '"1"'}, {"etag": '"2"', "tells_length": False}),
        ({}, {}),
    ],
    ids=["etag", "last-modified", "weak etag", "no length", "unversioned"],
)
def test_file_that_may_have_changed_is_never_mixed(
    server: FileServer, tmp_path: Path, old: dict[str, Any], new: dict[str, Any], honours_if_range: bool
) -> None:
    path = tmp_path / "film.mp4"
    url = broken_off(server, path, Reply(BODY, cut_after=CUT, **old))
    server.add("/film.mp4", Reply(OTHER, honours_if_range=honours_if_range, **new))
    assert download_file(url, path, progress=False).read_bytes() == OTHER


def test_part_of_another_address_is_not_continued(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    broken_off(server, path, Reply(BODY, etag='"1"', cut_after=CUT))
    url = server.add("/other.mp4", Reply(OTHER, etag='"1"'))
    assert download_file(url, path, progress=False).read_bytes() == OTHER


def test_part_that_is_already_complete_is_had_anew(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    url = broken_off(server, path, Reply(BODY, etag='"1"', cut_after=CUT))
    (tmp_path / "film.mp4.part").write_bytes(OTHER)
    server.add("/film.mp4", Reply(BODY, etag='"1"'))
    assert download_file(url, path, progress=False).read_bytes() == BODY


def test_server_without_ranges_sends_the_file_again(server: FileServer, tmp_path: Path) -> None:
    reply = Reply(BODY, etag='"1"', accepts_ranges=False)
    url = server.add("/film.mp4", Reply(BODY, etag='"1"', accepts_ranges=False, cut_after=CUT), reply)
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY


def test_range_that_was_not_asked_for_is_not_joined(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    url = broken_off(server, path, Reply(BODY, etag='"1"', cut_after=CUT))
    server.add("/film.mp4", Reply(BODY, etag='"1"', range_start=250_000))
    assert download_file(url, path, progress=False).read_bytes() == BODY


def test_compressed_answer_is_unpacked_and_never_resumed(server: FileServer, tmp_path: Path) -> None:
    reply = Reply(gzip.compress(BODY), content_encoding="gzip", etag='"1"')
    url = server.add("/film.mp4", replace(reply, cut_after=CUT), reply)
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY
    assert "Range" not in server.requests[1]


def test_length_need_not_be_told(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(BODY, tells_length=False))
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY


def test_stalled_body_is_given_up_and_resumed(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(BODY, etag='"1"', wait_after=CUT), Reply(BODY, etag='"1"'))
    path = download_file(url, tmp_path / "film.mp4", timeout_seconds=1.0, progress=False)
    assert path.read_bytes() == BODY
    assert "Range" in server.requests[1]


def test_silent_server_is_given_up(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(silent=True))
    with pytest.raises(DownloadError, match=r"film\.mp4 failed: .*timed out.*place the file at"):
        download_file(url, tmp_path / "film.mp4", timeout_seconds=0.1, progress=False)


def test_server_error_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(status=500), Reply(BODY))
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (404, "Not Found"), (204, "No Content")])
def test_refusal_is_final(server: FileServer, tmp_path: Path, status: int, reason: str) -> None:
    url = server.add("/film.mp4", Reply(status=status))
    with pytest.raises(DownloadError, match=f"the server answers {status} {reason}; check the address"):
        download_file(url, tmp_path / "film.mp4", progress=False)
    assert len(server.requests) == 1


def test_refused_connection_names_host_and_place_but_no_secrets(tmp_path: Path) -> None:
    url = refusing_url("/film.mp4?token=hush#whisper").replace("//", "//user:pass@")
    with pytest.raises(DownloadError, match=r"refused; .*allow the host 127\.0\.0\.1, or place") as caught:
        download_file(url, tmp_path / "film.mp4", progress=False)
    shown = "".join(traceback.format_exception(caught.value))
    assert str(tmp_path / "film.mp4") in shown
    assert not [secret for secret in ("user:", "pass@", "hush", "whisper") if secret in shown]


def test_hidden_secrets_leave_the_place() -> None:
    assert (
        hide_secrets("https://me:pass@host:8443/a/film.mp4?token=hush#t=3") == "https://host:8443/a/film.mp4"
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https:/me:hush@host/a.mp4", "https://host/a.mp4"),
        ("https://me:hu/sh@host/a.mp4", "https://host/a.mp4"),
        ("https://me:hu@sh@host/a.mp4", "https://host/a.mp4"),
        ("https://me:hu?sh@host/a.mp4", "https://…"),
        ("https://me:hu#sh@host/a.mp4", "https://…"),
        ("https://hush@host/a.mp4", "https://host/a.mp4"),
        ("https://host/@someone/a.mp4?hush", "https://host/@someone/a.mp4"),
        ("s3://key:hush@bucket/a.mp4;v=1", "s3://bucket/a.mp4;v=1"),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_secret(address: str, shown: str) -> None:
    assert is_address(address)
    assert hide_secrets(address) == hide_secrets(Path(address.replace("//", "/"))) == shown


@pytest.mark.parametrize("path", ["talk: part 1.mp4", "C:/films/me@work.mp4", "a@b:c.mp4", "./https:/x.mp4"])
def test_a_path_is_no_address(path: str) -> None:
    assert not is_address(path)
    assert hide_secrets(path) == path


def test_a_secret_is_in_no_repr_and_works_as_a_text() -> None:
    secret = Secret("hush")
    assert "hush" not in repr({"password": secret, "more": [str(secret)]})
    assert secret == "hush"
    assert secret.encode() == b"hush"
    assert f"{secret}@" == "hush@"


@pytest.mark.parametrize("target", ["file:///etc/passwd?hush", "ftp://127.0.0.1/film.mp4?hush"])
def test_redirect_leads_only_to_http(server: FileServer, tmp_path: Path, target: str) -> None:
    url = server.add("/film.mp4", Reply(status=302, location=target))
    with pytest.raises(DownloadError, match="leads to an address that is not http or https") as caught:
        download_file(url, tmp_path / "film.mp4", progress=False)
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_redirect_is_followed(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/old.mp4", Reply(status=302, location=server.add("/new.mp4", Reply(BODY))))
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_byte_now_and_then_is_given_up(
    server: FileServer, tmp_path: Path, tells_length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_RETRY_AFTER_SECONDS", (0.0, None))
    url = server.add("/film.mp4", Reply(BODY, etag='"1"', wait_between=0.05, tells_length=tells_length))
    with pytest.raises(DownloadError, match="sends less than 1,000 bytes a second"):
        download_file(url, tmp_path / "film.mp4", timeout_seconds=1.0, progress=False)
    assert len(server.requests) == 2
    server.add("/film.mp4", Reply(BODY, etag='"1"'))
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY  # the lock is free


@pytest.mark.parametrize("length", ["many", "-5", "3.5", "9" * 5000, "1 2"])
def test_a_length_that_is_no_number_is_named(server: FileServer, tmp_path: Path, length: str) -> None:
    url = server.add("/film.mp4", Reply(BODY, content_length=length))
    with pytest.raises(
        DownloadError, match=f"film.mp4 failed: the server gives the length as '{length[:40]}"
    ):
        download_file(url, tmp_path / "film.mp4", progress=False)


@pytest.mark.parametrize("port", ["no", "99999", "-1", "80a", "hush"])
def test_a_bad_port_is_named(server: FileServer, tmp_path: Path, port: str) -> None:
    for url in (
        f"http://me:hush@127.0.0.1:{port}/film.mp4?hush",
        server.add("/old.mp4", Reply(status=302, location=f"http://127.0.0.1:{port}/film.mp4?hush")),
    ):
        with pytest.raises(DownloadError, match=f"port must be a number below 65536, got '{port}'"):
            download_file(url, tmp_path / "film.mp4", progress=False)


@pytest.mark.parametrize("location", ["/caf\xe9.mp4", "http://[::1/film.mp4", "http://a]b/x", "\xff\xfe"])
def test_a_redirect_that_cannot_be_read_is_named(server: FileServer, tmp_path: Path, location: str) -> None:
    url = server.add("/old.mp4", Reply(status=302, location=location))
    with pytest.raises(DownloadError, match=r"old.mp4 failed: it leads to an address that cannot be read"):
        download_file(url, tmp_path / "film.mp4", progress=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the names of hosts stand for; nothing else is looked up, and all connections go to this machine."""
    known = {"127.0.0.1": "127.0.0.1"}
    real_connection = urllib3.util.connection.create_connection

    def look_up(host: str, port: int | None, *_: object, **__: object) -> list[tuple[Any, ...]]:
        if host not in known:
            raise socket.gaierror(f"{host} is unknown")
        family = socket.AF_INET6 if ":" in known[host] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (known[host], port or 0))]

    def connect(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        return real_connection(("127.0.0.1", address[1]), *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    monkeypatch.setenv("NO_PROXY", "*")
    return known


LOCAL = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "::"]


@pytest.mark.parametrize("address", LOCAL)
def test_a_redirect_from_elsewhere_does_not_lead_to_this_machine(
    server: FileServer, tmp_path: Path, names: dict[str, str], address: str
) -> None:
    names |= {"films.example": "203.0.113.5", "inner.example": address}
    target = server.add("/inner.mp4", Reply(BODY)).replace("127.0.0.1", "inner.example")
    url = server.add("/old.mp4", Reply(status=302, location=target)).replace("127.0.0.1", "films.example")
    with pytest.raises(
        DownloadError, match=r"leads to inner.example, which is this machine or its own network"
    ):
        download_file(url, tmp_path / "film.mp4", progress=False)
    assert len(server.requests) == 1
    # The address itself may be one.
    url = url.replace("films.example", "127.0.0.1")
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY


def test_a_redirect_from_elsewhere_to_elsewhere_is_followed(
    server: FileServer, tmp_path: Path, names: dict[str, str]
) -> None:
    names |= {"films.example": "203.0.113.5", "store.example": "203.0.113.6"}
    target = server.add("/new.mp4", Reply(BODY)).replace("127.0.0.1", "store.example")
    url = server.add("/old.mp4", Reply(status=302, location=target)).replace("127.0.0.1", "films.example")
    assert download_file(url, tmp_path / "film.mp4", progress=False).read_bytes() == BODY


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/film.mp4", "film.mp4", "http:///film.mp4"])
def test_url_must_be_http(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="url must be an http or https address, got"):
        download_file(url, tmp_path / "film.mp4")


@pytest.mark.parametrize(
    "reply",
    [Reply(BODY), Reply(BODY, tells_length=False), Reply(BODY, endless=True)],
    ids=["declared", "undeclared", "endless"],
)
def test_too_large_a_file_is_refused_and_not_kept(server: FileServer, tmp_path: Path, reply: Reply) -> None:
    url = server.add("/film.mp4", reply)
    with pytest.raises(DownloadError, match="must have at most max_bytes=250000 bytes, got"):
        download_file(url, tmp_path / "film.mp4", max_bytes=250_000, progress=False)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"film.mp4.lock"}


def test_file_of_just_max_bytes_is_accepted(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(BODY))
    download_file(url, tmp_path / "film.mp4", max_bytes=len(BODY), progress=False)


def test_wrong_digest_tells_both_and_keeps_nothing(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(OTHER, etag='"1"'))
    with pytest.raises(DownloadError, match=f"must have the SHA-256 {sha256(BODY)}, got {sha256(OTHER)}"):
        download_file(url, tmp_path / "film.mp4", sha256=sha256(BODY), progress=False)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"film.mp4.lock"}


@pytest.mark.parametrize("digest", [None, sha256(BODY), sha256(BODY).upper()])
def test_file_already_there_is_kept(server: FileServer, tmp_path: Path, digest: str | None) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(BODY)
    assert download_file(server.add("/film.mp4", Reply(OTHER)), path, sha256=digest) == path
    assert path.read_bytes() == BODY
    assert not server.requests


def test_file_already_there_with_another_digest_is_replaced(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(OTHER)
    download_file(server.add("/film.mp4", Reply(BODY)), path, sha256=sha256(BODY), progress=False)
    assert path.read_bytes() == BODY


def test_two_at_once_share_one_download(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(BODY, etag='"1"', wait_after=CUT, wait_seconds=0.5))
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(download_file, [url] * 2, [tmp_path / "film.mp4"] * 2))
    assert [path.read_bytes() for path in paths] == [BODY, BODY]
    assert len(server.requests) == 1


def test_video_lands_in_the_cache_directory(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOLIB_CACHE_DIR", str(tmp_path / "cache"))
    path = download_video(server.add("/film.mp4", Reply(BODY)), progress=False)
    assert path.parent == tmp_path / "cache"
    assert path.read_bytes() == BODY


def test_video_lands_in_the_home_directory_without_a_cache_directory(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEOLIB_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = download_video(server.add("/film.mp4", Reply(BODY)), progress=False)
    assert path.parent == tmp_path / ".cache" / "videolib" / "videos"


@pytest.mark.parametrize(
    ("address", "pattern"),
    [
        ("/clips/film.mp4", r"film-\w{8}\.mp4"),
        ("/a%20red%20car%3F.mp4", r"a_red_car_-\w{8}\.mp4"),
        ("/x/..%2F..%2Fetc%2Fpasswd", r"passwd-\w{8}"),
        ("/..%5C..%5Cboot.ini", r"boot-\w{8}\.ini"),
        ("/clips%2F..", r"video-\w{8}"),
        ("/.hidden.mp4", r"hidden-\w{8}\.mp4"),
        ("/nul%00.mp4", r"nul_-\w{8}\.mp4"),
        ("/%E6%98%A0%E7%94%BB.mp4", r"映画-\w{8}\.mp4"),
        ("/", r"video-\w{8}"),
        ("/" + 300 * "x" + ".mp4", r"x{40}-\w{8}\.mp4"),
    ],
)
def test_video_name_is_safe(server: FileServer, tmp_path: Path, address: str, pattern: str) -> None:
    path = download_video(server.add(address, Reply(BODY)), tmp_path, progress=False)
    assert path.parent == tmp_path
    assert re.fullmatch(pattern, path.name)


def test_videos_of_one_name_do_not_collide(server: FileServer, tmp_path: Path) -> None:
    first = download_video(server.add("/a/film.mp4", Reply(BODY)), tmp_path, progress=False)
    second = download_video(server.add("/b/film.mp4", Reply(OTHER)), tmp_path, progress=False)
    assert (first.read_bytes(), second.read_bytes()) == (BODY, OTHER)


def test_video_is_downloaded_once(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(BODY))
    assert download_video(url, tmp_path, progress=False) == download_video(url, tmp_path, progress=False)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [b"<!DOCTYPE html>\r\n<title>Sign in \xe2\x80\xa6</title>", b'{"error": "gone"}', LFS_POINTER, b""],
    ids=["html", "json", "git-lfs", "empty"],
)
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "video/mp4"])
def test_text_is_no_video(server: FileServer, tmp_path: Path, body: bytes, content_type: str) -> None:
    url = server.add("/watch", Reply(body, content_type=content_type))
    with pytest.raises(DownloadError, match="answers with a web page or other text, not a video file"):
        download_video(url, tmp_path, progress=False)
    assert {entry.suffix for entry in tmp_path.iterdir()} <= {".lock"}


def test_video_with_a_wrong_content_type_is_accepted(server: FileServer, tmp_path: Path) -> None:
    url = server.add("/film.mp4", Reply(BODY, content_type="text/plain"))
    assert download_video(url, tmp_path, progress=False).read_bytes() == BODY


def test_a_path_is_fetched_as_it_is(tmp_path: Path) -> None:
    assert fetch_video(tmp_path / "talk?.mp4") == tmp_path / "talk?.mp4"
    assert hide_secrets("talk?.mp4") == "talk?.mp4"


def test_a_url_is_fetched_by_downloading(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOLIB_CACHE_DIR", str(tmp_path))
    path = fetch_video(server.add("/talk.mp4", Reply(b"\0video")), progress=False)
    assert path.read_bytes() == b"\0video"
    assert path.parent == tmp_path
