"""Text that a person typed, made fit for a figure."""

from __future__ import annotations

import textwrap
from functools import cache

from anyascii import anyascii
from matplotlib import font_manager, rcParams
from matplotlib.ft2font import FT2Font

# What systems have for the scripts that matplotlib's own font lacks. Emoji in colour it cannot draw.
_FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "Microsoft YaHei"),
    *("PingFang SC", "Hiragino Sans", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS", "Noto Sans"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Emoji", "Segoe UI Symbol"),
)


@cache
def font_families() -> tuple[str, ...]:
    """The fonts to draw text with: matplotlib's, and after it those that this machine has for other scripts."""
    known = {font.name for font in font_manager.fontManager.ttflist}
    return (*rcParams["font.family"], *(name for name in _FALLBACKS if name in known))


@cache
def _characters() -> frozenset[int]:
    paths = [font_manager.findfont(font_manager.FontProperties(family=[name])) for name in font_families()]
    return frozenset(code for path in paths for code in FT2Font(path).get_charmap())


def fit_text(text: str, *, columns: int) -> str:
    """Break text into lines of `columns` characters; what no font here can draw is spelled in Latin letters."""
    drawn = "".join(one if one.isspace() or ord(one) in _characters() else _spell(one) for one in text)
    return "\n".join(textwrap.wrap(drawn, columns))


def _spell(one: str) -> str:
    spelled = anyascii(one)
    return spelled if spelled.isprintable() and spelled else f"U+{ord(one):04X}"
