"""How a time in a video is written: m:ss, and finer where two would look the same."""

from __future__ import annotations

import math
from collections.abc import Iterable

MOST_DECIMALS = 3


def format_seconds(seconds: float, *, decimals: int = 0) -> str:
    """Write a time as m:ss, or h:mm:ss from an hour on; what is finer than the decimals is cut off."""
    scale = 10**decimals
    whole, fraction = divmod(math.floor(round(seconds * scale, 3)), scale)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{text}.{fraction:0{decimals}}" if decimals else text


def format_span(start: float, end: float, *, decimals: int) -> str:
    """Write from when to when; one time where both look the same."""
    first, last = (format_seconds(each, decimals=decimals) for each in (start, end))
    return first if first == last else f"{first} to {last}"


def decimals_to_tell_apart(times: Iterable[float]) -> int:
    """Find the fewest decimals that make all these times look different; three at most."""
    known = {float(each) for each in times if math.isfinite(each)}
    for decimals in range(MOST_DECIMALS):
        if len({format_seconds(each, decimals=decimals) for each in known}) == len(known):
            return decimals
    return MOST_DECIMALS if known else 0
