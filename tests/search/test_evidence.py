import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from videolib import ClipEncoder, FrameStore, NullQueries, StoreError, judge, normalize, null_queries
from videolib.search import evidence

D = 16
MODEL = {"model": "tiny", "dimension": D, "every_seconds": 1.0}


def rows(count: int, seed: int = 0) -> np.ndarray:
    return normalize(np.random.default_rng(seed).normal(size=(count, D)))


def bank(count: int = 199, seed: int = 7) -> NullQueries:
    return NullQueries(tuple(map(str, range(count))), rows(count, seed))


def filled(store: FrameStore, **videos: np.ndarray) -> FrameStore:
    for video_id, embeddings in videos.items():
        store.write_video(make_video(video_id), **MODEL)
        store.write_frames(make_frames(video_id, embeddings))
    return store


def expected_p_value(query: np.ndarray, nulls: NullQueries, frames: np.ndarray) -> float:
    def reach(queries):
        return (frames @ queries.T).max(axis=0) - evidence.REFERENCE_SHARE * queries @ frames.mean(axis=0)

    return (1 + (reach(nulls.embeddings) >= reach(query[None])[0] - 1e-6).sum()) / (1 + len(nulls))


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def database(request, tmp_path) -> FrameStore:
    if request.param == "duckdb":
        return FrameStore(tmp_path / "store.duckdb")
    return FrameStore(request.getfixturevalue("singlestore_url"))


def test_p_values_are_the_same_from_memory_and_from_both_databases(database, monkeypatch):
    monkeypatch.setattr(evidence, "CHUNK_SIZE", 13)
    monkeypatch.setattr("videolib.store.embeddings.INDEX_BATCH_SIZE", 31)
    one, two, nulls = rows(80, 1), rows(50, 2), bank()
    store = filled(database, v1=one, v2=two)
    for query in [*rows(5, 3), one[7], nulls.embeddings[3]]:
        for video_id, frames in ((None, np.concatenate([one, two])), ("v2", two)):
            found = store.search(query, 3, video_id=video_id)
            judged = judge(found, query, store, nulls, video_id=video_id)
            again = judge(found, query, store.load_index(), bank(), video_id=video_id)
            assert judged["p_value"].tolist() == again["p_value"].tolist()
            assert judged["p_value"][0] == pytest.approx(expected_p_value(query, nulls, frames))
            assert judged["p_value"].is_monotonic_increasing
            pd.testing.assert_frame_equal(judged[found.columns], found)


def test_a_p_value_is_no_lower_than_it_says_where_nothing_is_there(store):
    """Queries drawn as the null queries are: a p-value of at most a tenth comes about one time in ten."""
    nulls, frames = bank(), rows(60, 1)
    filled(store, v1=frames)
    index = store.load_index()
    p_values = [
        judge(index.search(query, 1), query, index, nulls)["p_value"][0] for query in rows(400, seed=11)
    ]
    assert 0.05 < np.mean(np.array(p_values) <= 0.1) < 0.15
    assert 0.4 < np.mean(np.array(p_values) <= 0.5) < 0.6


def test_what_is_there_is_found_and_the_sentence_says_so(store):
    frames = rows(60, 1)
    filled(store, v1=frames)
    query = frames[20]  # a query equal to a frame
    judged = judge(store.search(query, 2), query, store, bank())
    assert judged["found"].tolist() == [True, False]
    assert judged["p_value"][0] == 1 / 200
    assert judged["sentence"][0] == "No unrelated description of 199 does as well"
    assert judged["sentence"][1].endswith(
        "of 199 unrelated descriptions do as well: it is probably not in this video"
    )
    everything = judge(store.search(query, 2), query, store, bank(), level=0.999)
    assert everything["found"].all()
    assert not everything["sentence"].str.contains("probably not").any()


def test_the_sentence_counts_in_words_that_fit(store):
    filled(store, v1=rows(5, 1), v2=rows(5, 2))
    query, nulls = rows(1, 3)[0], NullQueries(tuple("abcdefghi"), rows(9, 4))
    table = pd.DataFrame({"similarity": [2.0, -2.0]})
    first, last = judge(table, query, store, nulls)["sentence"]
    assert first == "No unrelated description of 9 does as well"
    assert last == "9 of 9 unrelated descriptions do as well: it is probably not in these videos"
    assert evidence._sentence(1, 200, True, "") == "1 of 200 unrelated descriptions does as well"


def test_a_description_that_fits_every_frame_a_little_is_not_found(store):
    """As words do that a model never learned: their similarity is high, and as high on every frame."""
    common = np.eye(D)[0]
    frames = normalize(0.8 * rows(60, 1) + common)
    filled(store, v1=frames)
    nulls = NullQueries(tuple(map(str, range(199))), normalize(rows(199, 7) * (np.arange(D) > 0)))
    hub = normalize(common + 0.1 * rows(1, 5)[0])
    (judged,) = judge(store.search(hub, 1), hub, store, nulls).to_dict("records")
    real = nulls.embeddings[np.argmax((frames @ nulls.embeddings.T).max(axis=0))]
    assert judged["similarity"] > (frames @ real).max()
    plain = (1 + ((frames @ nulls.embeddings.T).max(axis=0) >= judged["similarity"]).sum()) / 200
    assert judged["p_value"] >= plain


@pytest.mark.parametrize(
    "frames", [rows(1, 1), rows(2, 1), np.repeat(rows(1, 1), 20, axis=0)], ids=["one", "two", "all equal"]
)
def test_few_frames_and_frames_all_equal(store, frames):
    filled(store, v1=frames)
    for query in (frames[0], *rows(3, 9)):
        judged = judge(store.search(query, 5), query, store, bank())
        assert judged["p_value"][0] == pytest.approx(expected_p_value(query, bank(), frames))


def test_nothing_found_needs_no_store():
    query, store = rows(1)[0], FrameStore(":memory:")
    judged = judge(store.search(query), query, store, bank())
    assert judged.empty
    assert {"p_value", "found", "sentence"} <= set(judged.columns)
    with pytest.raises(StoreError, match="must hold frames, and has none"):
        judge(pd.DataFrame({"similarity": [0.5]}), query, store, bank())


def test_a_deleted_video_counts_no_more(store):
    nulls, query = bank(), rows(1, 3)[0]
    filled(store, v1=rows(40, 1), v2=nulls.embeddings)  # all null queries are in v2
    found = store.search(query, 1, video_id="v1")
    assert judge(found, query, store, nulls)["p_value"][0] == 1
    store.delete_video("v2")
    assert judge(found, query, store, nulls)["p_value"][0] == pytest.approx(
        expected_p_value(query, nulls, rows(40, 1))
    )
    with pytest.raises(StoreError, match="must hold frames of video_id 'v2'"):
        judge(found, query, store, nulls, video_id="v2")


def test_a_second_verdict_reads_new_videos_alone(store, monkeypatch):
    nulls, query, read = bank(), rows(1, 3)[0], []
    whole = FrameStore.read_embeddings
    monkeypatch.setattr(
        FrameStore, "read_embeddings", lambda self, video_id: read.append(video_id) or whole(self, video_id)
    )
    filled(store, v1=rows(40, 1), v2=rows(40, 2))
    for _ in range(2):
        judge(store.search(query), query, store, nulls)
    assert read == ["v1", "v2"]
    filled(store, v3=rows(4, 4))
    store.write_frames(make_frames("v1", rows(41, 1))[40:])
    judge(store.search(query), query, store, nulls)
    assert sorted(read[2:]) == ["v1", "v3"]


def test_the_length_of_a_query_does_not_matter(store):
    filled(store, v1=rows(40, 1))
    query, nulls = rows(1, 3)[0], bank()
    expected = judge(store.search(query), query, store, nulls)["p_value"]
    judged = judge(store.search(3 * query), 3 * query, store, nulls)["p_value"]
    assert judged.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": rows(1)[0, :8]}, r"query must be one embedding of shape \(16,\)"),
        ({"query": np.zeros(D)}, "not 0"),
        ({"query": np.full(D, np.nan)}, "finite"),
        ({"level": 0}, "level must lie"),
        ({"level": 1}, "level must lie"),
        ({"level": 0.001}, "got 0.001 with 199"),
        ({"nulls": NullQueries((), np.zeros((0, D), np.float32))}, "got 0.1 with 0: take more"),
        ({"nulls": bank(8)}, "got 0.1 with 8: take more"),
        ({"found": pd.DataFrame({"similarity": [np.nan]})}, "similarities must be finite"),
    ],
)
def test_it_refuses(store, options, message):
    filled(store, v1=rows(5))
    given = {"query": rows(1)[0], "nulls": bank(), "found": store.search(rows(1)[0])} | options
    with pytest.raises(ValueError, match=message):
        judge(given.pop("found"), given.pop("query"), store, given.pop("nulls"), **given)


def test_null_queries_have_a_row_for_each_text():
    with pytest.raises(ValueError, match="one row for each of 2 texts"):
        NullQueries(("a", "b"), rows(3))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of weights, and nothing remembered."""
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(evidence, "_known", {})
    return tmp_path / "models"


def test_the_banks_are_200_descriptions_that_differ_and_fit_the_model(encoder, folder):
    for path in (evidence._EVERYDAY, evidence._DEMO):
        texts = path.read_text(encoding="utf-8").splitlines()
        assert len(set(texts)) == len(texts) == 200
        assert all(text == text.strip() for text in texts)
        assert null_queries(encoder, texts).embeddings.shape == (200, encoder.dimension)


def test_the_demo_model_has_a_bank_of_its_own(encoder, folder):
    assert " car and a" in null_queries(encoder).texts[0]

    class Renamed(ClipEncoder):
        def __init__(self):
            super().__init__("demo", device="cpu")
            self.model = "ViT-B/32"

    assert null_queries(Renamed()).texts[0] == "a zebra drinking at a river"


def counted(encoder, monkeypatch) -> list[int]:
    """How many texts each call embeds."""
    counts = []
    whole = type(encoder).encode_texts
    monkeypatch.setattr(
        type(encoder),
        "encode_texts",
        lambda self, texts: counts.append(len(list(texts))) or whole(self, texts),
    )
    return counts


def test_embeddings_are_kept_in_memory_and_beside_the_weights(encoder, folder, monkeypatch):
    counts = counted(encoder, monkeypatch)
    nulls = null_queries(encoder)
    assert null_queries(encoder) is nulls
    assert counts == [1, 200, 1]
    monkeypatch.setattr(evidence, "_known", {})
    np.testing.assert_array_equal(null_queries(encoder).embeddings, nulls.embeddings)
    assert counts == [1, 200, 1, 1]
    assert [path.suffix for path in folder.iterdir()] == [".npy"]
    assert repr(nulls) == "NullQueries(200 descriptions, dimension 512)"


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "text", "other"])
def test_a_damaged_file_is_made_anew(encoder, folder, monkeypatch, damage):
    expected = null_queries(encoder).embeddings
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    if damage == "other":  # another model's, of the same name
        np.save(path, normalize(np.random.default_rng(0).normal(size=expected.shape)))
    else:
        broken = {"cut": whole[:5000], "empty": b"", "zeros": whole[:128] + bytes(len(whole) - 128)}
        path.write_bytes(broken.get(damage, b"not an array"))
    monkeypatch.setattr(evidence, "_known", {})
    np.testing.assert_array_equal(null_queries(encoder).embeddings, expected)
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_trouble(encoder, folder):
    folder.write_text("a file where the folder should be")
    assert len(null_queries(encoder)) == 200


def test_no_texts_make_an_empty_bank(encoder, folder):
    assert len(null_queries(encoder, [])) == 0


def test_the_sample_video_has_what_it_shows_and_not_what_it_does_not(encoder, folder, tmp_path):
    from videolib import ingest, text_query
    from videolib.demo import SAMPLE_VIDEO_PATH

    store, nulls = FrameStore(tmp_path / "sample.duckdb"), null_queries(encoder)
    ingest(SAMPLE_VIDEO_PATH, encoder, store, progress=False)
    answers = {}
    for text in ("a red car", "a yellow boat", "zebra", "a dog", "Ultra-Fast Ingestion", "a purple cup"):
        query = text_query(text, encoder)
        answers[text] = bool(judge(store.search(query, 1), query, store, nulls)["found"][0])
    assert [text for text, found in answers.items() if found] == ["a red car", "a yellow boat"]
