"""What a notebook and a terminal show of a thing: short, escaped, with small pictures."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from html import escape

TEXT_COLUMNS = 100  # of a terminal
LONGEST_TEXT = 120  # characters of one
THUMBNAIL_LONG_SIDE, THUMBNAIL_QUALITY = 120, 60

_DIGEST = re.compile(r"^([0-9a-f]{8})[0-9a-f]{24}(?![0-9a-f])")


def shorten(text: str, most: int = LONGEST_TEXT) -> str:
    """Leave out the middle of a text that is longer than so many characters."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end - 1]}…{text[-end:]}"


def shorten_id(video_id: str) -> str:
    """Leave out most of a digest, and keep what tells a sampling."""
    return shorten(_DIGEST.sub(r"\1…", video_id), 40)


def facts_text(name: str, facts: Mapping[str, object]) -> str:
    """Write what is known of a thing as Python would, in lines of a terminal, long texts shortened."""
    lines, indent = [f"{name}("], " " * (len(name) + 1)
    for place, (key, value) in enumerate(facts.items()):
        shown = repr(shorten(value, 60)) if isinstance(value, str) else repr(value)
        part = f"{key}={shorten(shown, 70)}" + (")" if place == len(facts) - 1 else ", ")
        if len(lines[-1]) + len(part.rstrip()) > TEXT_COLUMNS and place:
            lines.append(indent)
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def facts_html(name: str, facts: Mapping[str, str]) -> str:
    """Make a small table of what is known of a thing."""
    rows = [
        f'<tr><th style="text-align: left">{escape(key)}</th>'
        f'<td style="text-align: left"><bdi>{escape(shorten(value))}</bdi></td></tr>'
        for key, value in facts.items()
    ]
    head = f'<thead><tr><th colspan="2" style="text-align: left">{escape(name)}</th></tr></thead>'
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def jpeg_address(jpeg: bytes) -> str:
    """Make an address that holds a picture itself, for HTML."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def thumbnail_html(jpeg: object, alt: str) -> str:
    """Make a small picture that needs no file; empty where there is none to make it of."""
    from videolib.images import decode_jpeg, encode_jpeg  # a store that shows no picture does not need them

    if not isinstance(jpeg, bytes):
        return ""
    try:
        image = decode_jpeg(jpeg)
    except ValueError:
        return ""
    data = encode_jpeg(image, long_side=THUMBNAIL_LONG_SIDE, quality=THUMBNAIL_QUALITY)
    return f'<img alt="{escape(alt)}" src="{jpeg_address(data)}">'
