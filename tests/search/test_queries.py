import numpy as np
import pytest

from tests.file_server import Reply, file_server
from tests.light import LightEncoder
from videolib import DownloadError, combine, image_query, normalize, similarity, text_query
from videolib.images import encode_jpeg


def unit_rows(count: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    return normalize(np.random.default_rng(seed).normal(scale=spread, size=(count, 16)))


TEXT, IMAGE = unit_rows(2, seed=1)


def test_text_query_is_the_text_s_embedding(encoder):
    query = text_query("a red car", encoder)
    np.testing.assert_array_equal(query, encoder.encode_texts(["a red car"])[0])


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_a_blank_text_is_refused(encoder, text):
    with pytest.raises(ValueError, match="text must describe what to look for"):
        text_query(text, encoder)


def test_a_long_text_is_refused_or_cut(encoder):
    long = "car " * 100
    with pytest.raises(ValueError, match=r"at most 77 tokens each, .* pass truncate=True"):
        text_query(long, encoder)
    np.testing.assert_array_equal(
        text_query(long, encoder, truncate=True), encoder.encode_texts([long], truncate=True)[0]
    )
    np.testing.assert_array_equal(
        text_query("a red car", encoder, truncate=True), text_query("a red car", encoder)
    )


def test_an_encoder_that_cannot_cut_still_embeds_texts():
    assert text_query("a red car", LightEncoder()).shape == (48,)


PICTURE = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)


def test_image_query_is_the_picture_s_embedding(encoder):
    np.testing.assert_array_equal(image_query(PICTURE, encoder), encoder.encode_images([PICTURE])[0])


def test_image_query_takes_a_url(encoder):
    jpeg = encode_jpeg(PICTURE)
    with file_server() as server:
        query = image_query(server.add("/picture", Reply(jpeg)), encoder)
    np.testing.assert_array_equal(query, image_query(jpeg, encoder))


def test_a_url_without_a_picture_is_an_error(encoder):
    with file_server() as server:
        with pytest.raises(DownloadError, match="404"):
            image_query(server.add("/gone", Reply(status=404)), encoder)
        with pytest.raises(ValueError, match="readable picture"):
            image_query(server.add("/page", Reply(b"<html></html>")), encoder)


def test_plain_mean_is_the_article_s():
    np.testing.assert_array_equal(combine(TEXT, IMAGE, balance="none"), (TEXT + IMAGE) / 2)


@pytest.mark.parametrize(("weight", "expected"), [(1, TEXT), (0, IMAGE)])
@pytest.mark.parametrize("balance", ["none", "standardize"])
def test_weight_is_the_share_of_the_text(weight, expected, balance):
    combined = combine(TEXT, IMAGE, weight=weight, balance=balance, embeddings=unit_rows(20))
    np.testing.assert_allclose(combined, expected, atol=1e-6)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_standardized_ranks_by_the_weighted_sum_of_z_scores(weight):
    embeddings = unit_rows(300, seed=2)
    text, image = (similarity(query, embeddings) for query in (TEXT, IMAGE))
    z_scores = [(part - part.mean()) / part.std() for part in (text, image)]
    expected = np.argsort(-(weight * z_scores[0] + (1 - weight) * z_scores[1]))
    combined = combine(TEXT, IMAGE, weight=weight, embeddings=embeddings)
    np.testing.assert_allclose(np.linalg.norm(combined), 1, atol=1e-6)
    assert np.argsort(-similarity(combined, embeddings)).tolist() == expected.tolist()


def test_standardized_hears_the_text_where_the_plain_mean_does_not():
    # Frames spread ten times as far along the picture's direction as along the text's.
    rng = np.random.default_rng(3)
    amounts = rng.normal(size=(200, 2)) * [0.02, 0.2]
    embeddings = normalize(np.c_[amounts, np.ones(200)])
    text, image = np.eye(3)[:2]

    def follows_text(query):
        return np.corrcoef(similarity(query, embeddings), similarity(text, embeddings))[0, 1]

    assert follows_text(combine(text, image, balance="none")) < 0.3
    assert follows_text(combine(text, image, embeddings=embeddings)) > 0.6


def test_a_part_that_never_varies_is_no_trouble():
    combined = combine([1, 0], [0, 1], embeddings=[[1, 0], [1, 0]])
    assert np.isfinite(combined).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.5}, "weight must lie between 0 .* got 1.5"),
        ({"weight": float("nan")}, "weight must lie between"),
        ({"balance": "equal"}, "balance must be 'standardize' or 'none', got 'equal'"),
        ({}, "embeddings of the frames .* balance='none'"),
        ({"embeddings": []}, "embeddings of the frames"),
        ({"embeddings": np.ones((2, 3))}, r"shape \(n, 16\)"),
    ],
)
def test_combine_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        combine(TEXT, IMAGE, **options)


def test_combine_refuses_queries_of_two_models():
    with pytest.raises(ValueError, match=r"text and image must .* got shapes \(16,\) and \(8,\)"):
        combine(TEXT, IMAGE[:8], balance="none")


def z_scores(query, embeddings) -> np.ndarray:
    values = similarity(query, embeddings)
    return (values - values.mean()) / values.std()


def test_any_number_of_queries_is_a_weighted_sum_of_z_scores():
    parts, embeddings = unit_rows(4, seed=5), unit_rows(300, seed=2)
    weights = [1, -0.5, 2, 0.25]
    expected = sum(w * z_scores(part, embeddings) for w, part in zip(weights, parts, strict=True))
    combined = combine(parts, weights=weights, embeddings=embeddings)
    assert np.argsort(-similarity(combined, embeddings)).tolist() == np.argsort(-expected).tolist()


def test_queries_may_come_as_a_list_or_one_by_one():
    embeddings = unit_rows(20)
    for options in ({"embeddings": embeddings}, {"balance": "none"}):
        expected = combine(TEXT, IMAGE, **options)
        np.testing.assert_array_equal(combine([TEXT, IMAGE], **options), expected)
        np.testing.assert_array_equal(combine(np.stack([TEXT, IMAGE]), **options), expected)
        np.testing.assert_allclose(combine(TEXT, IMAGE, weights=[0.5, 0.5], **options), expected, atol=1e-6)
    np.testing.assert_allclose(combine([TEXT], embeddings=embeddings), TEXT, atol=1e-6)
    thirds = combine([TEXT, IMAGE, TEXT], balance="none")
    np.testing.assert_allclose(thirds, (2 * TEXT + IMAGE) / 3, atol=1e-6)


def test_a_negative_weight_asks_for_what_does_not_show_it():
    """Frames of a car, of something red, of both and of neither: a car that is not red comes first."""
    frames = normalize([[1, 0, 0.2], [0, 1, 0.2], [1, 1, 0.2], [0, 0, 1]])
    car, red = np.eye(3)[:2]
    assert similarity(combine([car, red], weights=[1, 1], embeddings=frames), frames).argmax() == 2
    wanted = similarity(combine([car, red], weights=[1, -0.5], embeddings=frames), frames)
    assert wanted.argmax() == 0
    assert wanted.argmin() == 1


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        ([], {}, "got shapes of none"),
        ([TEXT, IMAGE[:8]], {}, r"got shapes \(16,\) and \(8,\)"),
        (TEXT, {}, r"got shapes \(\)"),
        (np.zeros((2, 2, 2)), {}, r"got shapes \(2, 2\)"),
        ([TEXT, IMAGE], {"weights": [1]}, "weights must be 2 finite numbers"),
        ([TEXT, IMAGE], {"weights": [1, np.nan]}, "weights must be 2 finite numbers"),
        ([TEXT, IMAGE], {"weights": [0, 0]}, "not all 0"),
        ([TEXT, IMAGE], {"weights": [1, 1], "weight": 0.5}, "2 queries and weights"),
        ([TEXT, IMAGE, TEXT], {"weight": 0.5}, "first one's share of two queries, got it with 3"),
        ([TEXT, TEXT], {"weights": [1, -1]}, "weights must leave something"),
    ],
)
def test_combine_refuses_parts_and_weights_that_do_not_fit(queries, options, message):
    with pytest.raises(ValueError, match=message):
        combine(queries, embeddings=unit_rows(20), **options)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a car that is not red", "not"),
        ("No car at all", "No"),
        ("a street without cars", "without"),
        ('a sign that says "no"', "no"),
        ("a car that isn't red", "isn't"),
        ("a car that isn\u2019t red", "isn\u2019t"),
    ],
)
def test_a_negation_gets_a_warning_that_names_what_works(encoder, text, word):
    with pytest.warns(UserWarning, match=rf"reads over '?\"?{word}.*negative weight.*combine") as caught:
        query = text_query(text, encoder)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(query, encoder.encode_texts([text])[0])


@pytest.mark.parametrize("text", ["a knot in a rope", "snow on a notebook", "nobody", "a red car", "a piano"])
def test_words_that_merely_hold_a_negation_get_none(encoder, text, recwarn):
    text_query(text, encoder)
    assert not recwarn
