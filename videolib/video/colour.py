"""Colours as a common screen shows them: which matrix a picture has, and HDR and wide gamuts brought to BT.709."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from videolib.types import RGBArray

_Floats: TypeAlias = npt.NDArray[np.floating]

_UNSPECIFIED = 2  # as AVColorSpace has it
_REFERENCE_WHITE = 203  # cd/m², graphics white: ITU-R BT.2408, 2.2
_PEAK = 1000  # cd/m², of HLG's nominal display, and what most PQ is mastered for
_STEPS = 1 << 12  # of a signal in tables; HDR has 10 bits, seldom 12
_BAND = 32  # rows at a time, which stay in the cache
_PRIMARIES = {  # x and y of red, green and blue; the white of all is D65
    ColorPrimaries.BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    ColorPrimaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    ColorPrimaries.SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_WIDE = (ColorPrimaries.BT2020, ColorPrimaries.SMPTE432)


def to_bt709(frame: VideoFrame, width: int, height: int) -> RGBArray:
    """Return a frame's pixels, scaled, as RGB of BT.709; (height, width, 3) uint8."""
    is_hdr = frame.color_trc in _HDR
    matrix = None
    if frame.colorspace == _UNSPECIFIED and not (frame.format.is_rgb or frame.format.has_palette):
        if is_hdr:
            matrix = Colorspace.BT2020
        elif frame.width >= 1280 or frame.height > 576:
            matrix = Colorspace.ITU709  # as players guess; swscale would take BT.601
    is_plain = not (is_hdr or frame.color_primaries in _WIDE)
    image = frame.to_ndarray(
        format="rgb24" if is_plain else "rgb48le",
        width=width,
        height=height,
        src_colorspace=matrix,
        threads=1,
    )
    if is_plain:
        return cast(RGBArray, image)
    shown = np.empty(image.shape, dtype=np.uint8)
    for top in range(0, height, _BAND):
        signal = image[top : top + _BAND].view(np.uint16) >> np.uint16(4)
        shown[top : top + _BAND] = _show(signal, frame.color_trc, frame.color_primaries)
    return shown


def _show(signal: npt.NDArray[np.uint16], transfer: int, primaries: int) -> RGBArray:
    """Bring a signal of 12 bits to that of an SDR screen, whose white is the reference white; (h, w, 3)."""
    light = _light_of(transfer)[signal]
    if transfer == ColorTrc.ARIB_STD_B67:
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= luminance[..., None] ** 0.2  # the system gamma is 1.2 at this peak
    if transfer in _HDR:
        brightest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
        light *= _gains()[_steps(brightest)][..., None]  # one for all three: the hue stays
    light = light @ _to_bt709(primaries)
    return _signal_of()[_steps(light * (_PEAK / _REFERENCE_WHITE))]


def _steps(light: _Floats) -> npt.NDArray[np.uint16]:
    """Return the place of light from 0 to 1 in a table that is even in its root."""
    return (np.sqrt(np.clip(light, 0, 1)) * (_STEPS - 1) + 0.5).astype(np.uint16)


@cache
def _light_of(transfer: int) -> _Floats:
    """Return the light that a signal stands for, 1 at the peak: ITU-R BT.2100, tables 4 and 5; SDR, BT.1886."""
    signal = np.linspace(0, 1, _STEPS)
    if transfer == ColorTrc.SMPTE2084:
        light = _from_pq(signal) / _PEAK
    elif transfer == ColorTrc.ARIB_STD_B67:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = signal**2.4 * (_REFERENCE_WHITE / _PEAK)
    return light.astype(np.float32)


@cache
def _gains() -> _Floats:
    """Return by how much light is to be dimmed, for the root of the brightest channel."""
    light = np.linspace(1e-3, 1, _STEPS) ** 2
    return (_compress(light * _PEAK) / (light * _PEAK)).astype(np.float32)


@cache
def _signal_of() -> RGBArray:
    """Return the 8-bit signal, for the root of the light of an SDR screen: ITU-R BT.1886."""
    return np.round(255 * np.linspace(0, 1, _STEPS) ** (2 / 2.4)).astype(np.uint8)


@cache
def _to_bt709(primaries: int) -> _Floats:
    """Return the matrix to multiply rows of linear RGB with; (3, 3)."""
    source = _PRIMARIES.get(cast(ColorPrimaries, primaries), _PRIMARIES[ColorPrimaries.BT2020])
    matrix = np.linalg.solve(_to_xyz(_PRIMARIES[ColorPrimaries.BT709]), _to_xyz(source))
    return matrix.T.astype(np.float32)


def _compress(light: _Floats) -> _Floats:
    """Bring light from the peak down to the reference white, and leave the dark: ITU-R BT.2390, 5.4.1."""
    peak, white = _to_pq(np.array([_PEAK, _REFERENCE_WHITE]))
    top = white / peak
    knee = 1.5 * top - 0.5
    level = np.minimum(_to_pq(light) / peak, 1)
    t = (level - knee) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    )
    return _from_pq(np.where(level < knee, level, spline) * peak)


def _from_pq(signal: _Floats) -> _Floats:
    """Return cd/m² of a PQ signal: the EOTF of ITU-R BT.2100, table 4."""
    root = signal ** (32 / 2523)
    return cast(
        _Floats, 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305)
    )


def _to_pq(light: _Floats) -> _Floats:
    power = (light / 10_000) ** (1305 / 8192)
    return cast(_Floats, ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** (2523 / 32))


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> _Floats:
    """Return the matrix from linear RGB to XYZ; (3, 3)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)
