"""How texts and images become one query embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from videolib.addresses import is_address
from videolib.search.similarities import normalize, similarity
from videolib.types import FloatArray

if TYPE_CHECKING:
    from videolib.encoding import Encoder
    from videolib.images import ImageSource


def text_query(text: str, encoder: Encoder, *, truncate: bool = False) -> FloatArray:
    """Embed a description: (d,) float32, unit length.

    OpenAI's models were trained on English. A word of German or French may work by chance; Chinese, Arabic or
    emoji give an embedding like any text, and it finds nearly anything: translate first.

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
    text_query: npt.ArrayLike,
    image_query: npt.ArrayLike,
    *,
    weight: float = 0.5,
    balance: Literal["standardize", "none"] = "standardize",
    embeddings: npt.ArrayLike | None = None,
) -> FloatArray:
    """Combine a text query and an image query into one.

    Image similarities spread far more over a video's frames than text similarities do, so that a plain
    mean follows the image. Standardizing divides each part by the standard deviation of its
    similarities to `embeddings`: ranking by the result is ranking by the weighted sum of their z-scores.

    Parameters
    ----------
    text_query, image_query
        (d,) each, of one encoder.
    weight
        The text's share, from 0 (the image alone) to 1 (the text alone).
    balance
        "standardize", or "none" for the plain mean ``weight * text_query + (1 - weight) * image_query``.
    embeddings
        (n, d) embeddings of the frames to be searched, or a fair sample of them; "none" needs none.

    Returns
    -------
    (d,) float32; of unit length if standardized, as it comes if not.

    Raises
    ------
    ValueError
        If the weight, the balance or a shape is wrong, or there are no embeddings to standardize by.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie between 0 (image only) and 1 (text only), got {weight}")
    text_shape, image_shape = np.shape(text_query), np.shape(image_query)
    if len(text_shape) != 1 or text_shape != image_shape:
        raise ValueError(
            f"text and image must be two queries (d,) of one encoder, got shapes {text_shape} and {image_shape}"
        )
    parts = np.asarray([text_query, image_query], dtype=np.float32)  # (2, d)
    shares = np.asarray([weight, 1 - weight], dtype=np.float32)
    if balance == "none":
        return shares @ parts
    if balance != "standardize":
        raise ValueError(f"balance must be 'standardize' or 'none', got {balance!r}")
    if embeddings is None or len(np.asarray(embeddings)) == 0:
        raise ValueError(
            "embeddings of the frames to be searched are needed to standardize by, got none: "
            "pass them, or balance='none'"
        )
    spreads = [float(np.std(similarity(part, embeddings))) for part in parts]
    # A part that is the same for every frame cannot change the ranking, whatever it is divided by.
    return normalize(shares / [spread or 1.0 for spread in spreads] @ parts)
