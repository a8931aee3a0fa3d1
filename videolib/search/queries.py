"""How texts and images become one query embedding."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from videolib.addresses import is_address
from videolib.search.similarities import normalize, similarity
from videolib.types import FloatArray

if TYPE_CHECKING:
    from videolib.encoding import Encoder
    from videolib.images import ImageSource

_NEGATION = re.compile(r"\b(?:not|no|without)\b|\w+n['\u2019]t\b", re.IGNORECASE)


def text_query(text: str, encoder: Encoder, *, truncate: bool = False) -> FloatArray:
    """Embed a description: (d,) float32, unit length.

    OpenAI's models were trained on English. A word of German or French may work by chance; Chinese, Arabic or
    emoji give an embedding like any text, and it finds nearly anything: translate first. A text that says what
    is *not* to be there is warned of, because CLIP reads over that.

    Parameters
    ----------
    text
        What to look for, in English; of at most 75 tokens, about 60 words, with OpenAI's models.
    encoder
        The encoder that made the embeddings to be searched.
    truncate
        Cut a longer text instead of refusing it, where the encoder can, as `ClipEncoder` does.

    Raises
    ------
    ValueError
        If the text is blank or too long.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"text must describe what to look for, got {text!r}")
    if negation := _NEGATION.search(text):
        warnings.warn(
            f"text should say what is there, because CLIP reads over {negation[0]!r}: embed what must not be there as "
            "a query of its own, and give it a negative weight, such as combine([car, red], weights=[1, -0.5], ...)",
            stacklevel=2,
        )
    options: dict[str, Any] = {"truncate": True} if truncate else {}  # an encoder of one's own may have none
    return encoder.encode_texts([text], **options).ravel()  # (1, d) to (d,)


def image_query(image: ImageSource, encoder: Encoder) -> FloatArray:
    """Embed an image: (d,) float32, unit length.

    Parameters
    ----------
    image
        A path, an http(s) URL, a PIL image, an RGB array (height, width, 3), a `Frame`, or the bytes of an
        image file, such as the frame_data of a match.
    encoder
        The encoder that made the embeddings to be searched.

    Raises
    ------
    ValueError
        If it is not a readable image.
    DownloadError
        If a URL does not answer with one, or with more than 50 MB.
    """
    if isinstance(image, str) and is_address(image):
        from videolib.images import open_image  # the rest of search needs NumPy and pandas alone

        image = open_image(image)
    return encoder.encode_images([image]).ravel()


def combine(
    *queries: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    weight: float | None = None,
    balance: Literal["standardize", "none"] = "standardize",
    embeddings: npt.ArrayLike | None = None,
) -> FloatArray:
    """Combine any number of queries into one; a negative weight asks for what does not show that part.

    Image similarities spread far more over a video's frames than text similarities do, so that a plain
    mean follows the image. Standardizing divides each part by the standard deviation of its
    similarities to `embeddings`: ranking by the result is ranking by the weighted sum of their z-scores.

    Parameters
    ----------
    queries
        (d,) each, of one encoder; or one list of them. The usual two are a text query and an image query.
    weights
        (m,) one for each query, of any sign and size; equal shares if not given. "A car that is not red" is
        ``combine([car, red], weights=[1, -0.5], embeddings=sample)``.
    weight
        Of two queries, instead of `weights`: the first one's share, from 0 (the second alone) to 1.
    balance
        "standardize", or "none" for the plain weighted sum, such as the mean of the two.
    embeddings
        (n, d) embeddings of the frames to be searched, or a fair sample of them, such as
        `FrameStore.sample_embeddings` gives; "none" needs none.

    Returns
    -------
    (d,) float32; of unit length if standardized, as it comes if not.

    Raises
    ------
    ValueError
        If a weight, the balance or a shape is wrong, the weights leave nothing, or there are no embeddings to
        standardize by.
    """
    parts = _parts(queries)  # (m, d)
    shares = _shares(len(parts), weights, weight)  # (m,)
    if balance == "none":
        return shares @ parts
    if balance != "standardize":
        raise ValueError(f"balance must be 'standardize' or 'none', got {balance!r}")
    if embeddings is None or len(embeddings := np.asarray(embeddings, dtype=np.float32)) == 0:
        raise ValueError(
            "embeddings of the frames to be searched are needed to standardize by, got none: "
            "pass them, or balance='none'"
        )
    spreads = [float(np.std(similarity(part, embeddings))) for part in parts]
    # A part that is the same for every frame cannot change the ranking, whatever it is divided by.
    scaled = shares / np.array([spread or 1.0 for spread in spreads], dtype=np.float32)
    total = scaled @ parts
    if np.abs(total).max() <= 1e-6 * np.abs(scaled[:, None] * parts).max():
        raise ValueError(
            f"weights must leave something to look for, got {shares.tolist()}, and the parts cancel out: "
            "give one of them more weight"
        )
    return normalize(total)


def _parts(queries: tuple[npt.ArrayLike, ...]) -> FloatArray:
    """Queries given one by one, or as one list, as (m, d)."""
    given = list(queries[0]) if len(queries) == 1 else list(queries)  # type: ignore[arg-type]
    shapes = sorted({np.shape(each) for each in given}, reverse=True)
    if len(shapes) != 1 or len(shapes[0]) != 1:
        raise ValueError(
            "queries such as a text and image must be embeddings (d,) of one encoder, "
            f"got shapes {' and '.join(map(str, shapes)) or 'of none'}"
        )
    return np.asarray(given, dtype=np.float32)


def _shares(count: int, weights: npt.ArrayLike | None, weight: float | None) -> FloatArray:
    """The weight of each query, (m,)."""
    if weight is not None:
        if weights is not None or count != 2:
            raise ValueError(
                f"weight is the first one's share of two queries, got it with {count} queries"
                f"{' and weights' if weights is not None else ''}: pass weights, one for each query"
            )
        if not 0 <= weight <= 1:
            raise ValueError(
                f"weight must lie between 0 (image only) and 1 (text only), got {weight}: weights may be negative"
            )
        return np.asarray([weight, 1 - weight], dtype=np.float32)
    if weights is None:
        return np.full(count, 1 / count, dtype=np.float32)
    shares = np.asarray(weights, dtype=np.float32)
    if shares.shape != (count,) or not np.isfinite(shares).all() or not shares.any():
        raise ValueError(
            f"weights must be {count} finite numbers, one for each query and not all 0, got {weights!r}"
        )
    return shares
