import math
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from transformed_headlines import HEADLINES, Headline, read_transformed, transform

from modules.features import LABELS, TITLE_BUCKETS, UNKNOWN_LABEL_ID, transformed_name
from modules.preprocessing import MAX_TOKENS, NGRAM_BUCKETS, count_ngrams, normalise_text
from modules.text import MAX_CHARACTERS, TextSettings
from modules.word_vectors import read_words

AS_IT_IS = TextSettings(
    lowercase=False, strip_accents=False, strip_special_characters=False, replace_digits=False, remove_stop_words=False
)


def normalise(title: str | bytes, **text_settings: bool) -> str:
    rules = TextSettings(**{**vars(AS_IT_IS), **text_settings})
    return normalise_text(tf.constant([title]), rules)[0].numpy().decode()


def test_each_text_setting_changes_what_it_names_and_nothing_else() -> None:
    title = "A ELEIÇÃO, em 2022: São 1.234,5 votos"
    assert normalise(title) == title
    assert normalise(title, lowercase=True) == "a eleição, em 2022: são 1.234,5 votos"
    assert normalise(title, strip_accents=True) == "A ELEICAO, em 2022: Sao 1.234,5 votos"
    assert normalise(title, strip_special_characters=True) == "A ELEIÇÃO em 2022 São 1 234 5 votos"
    assert normalise(title, replace_digits=True) == "A ELEIÇÃO, em 0: São 0 votos"
    assert normalise(title, remove_stop_words=True) == "ELEIÇÃO, 2022: 1.234,5 votos"


def test_default_settings_leave_plain_words() -> None:
    assert normalise("  'Decepção' & “vergonha” —  R$ 10,50!", **vars(TextSettings())) == "decepcao vergonha r 0"


def test_characters_that_nobody_sees_are_passed_over_and_do_not_cut_a_word_in_two() -> None:
    assert normalise("go\u200bver\u00adno\ufeff so\u2060fá\ufe0f") == "governo sofá"
    assert normalise("1\u200b0,5\u200b0 sóis\u200d", **vars(TextSettings())) == "0 sois"


def test_stop_words_are_found_whichever_settings_came_before_and_negations_stay() -> None:
    for accents in (False, True):
        found = normalise("Você NÃO vai Às urnas sem título", remove_stop_words=True, strip_accents=accents)
        assert found.split()[-1] in ("título", "titulo")
        assert len(found.split()) == 5, found


@pytest.mark.parametrize("letter, base", [("ç", "c"), ("Ã", "A"), ("ő", "o"), ("ﬁ", "ﬁ"), ("ệ", "e"), ("日", "日")])
def test_a_letter_loses_its_accents_whether_composed_or_not(letter: str, base: str) -> None:
    assert normalise(letter, strip_accents=True) == base
    assert normalise(unicodedata.normalize("NFD", letter), strip_accents=True) == base


def test_odd_titles_are_read_without_error() -> None:
    rules = TextSettings()
    odd = ["", "   ", b"\xff\xfe\x80casa", "😀🔥", "Привет 你好 مرحبا casa", "\x00\x07", "a\nb", "palavra " * 1400]
    read = [text.decode() for text in normalise_text(tf.constant(odd), rules).numpy()]
    assert read[:7] == ["", "", "casa", "", "привет 你好 مرحبا casa", "", "a b"]
    assert len(read[7]) <= MAX_CHARACTERS and set(read[7].split()) == {"palavra"}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=30))
def test_any_bytes_are_normalised_to_valid_text_and_normalising_twice_changes_nothing(title: bytes | str) -> None:
    title = title.encode("utf-8", "surrogatepass") if isinstance(title, str) else title
    once = normalise(title, **vars(TextSettings()))
    assert normalise(once, **vars(TextSettings())) == once
    assert once == " ".join(once.split(" ")).strip()


def test_unknown_and_mistyped_text_settings_are_named() -> None:
    assert TextSettings.from_config(None) == TextSettings()
    assert TextSettings.from_config({"text": {"lowercase": False}, "code": "x"}) == TextSettings(lowercase=False)
    with pytest.raises(ValueError, match=r"'lower'.*lowercase, strip_accents"):
        TextSettings.from_config({"text": {"lower": True}})
    with pytest.raises(ValueError, match="lowercase is 'true'"):
        TextSettings.from_config({"text": {"lowercase": "true"}})


def test_ngrams_of_words_and_of_characters_are_counted_per_title() -> None:
    counts = count_ngrams(tf.constant(["ab ab", "", "c"]))
    dense = tf.sparse.to_dense(counts).numpy()
    assert dense.shape == (3, NGRAM_BUCKETS)
    # " ab ab ": 6 + 5 + 4 + 3 n-grams of 2 to 5 characters; ab, ab, "ab ab" of words.
    assert dense.sum(axis=1).tolist() == [18 + 3, 1, 2 + 1 + 1]
    of_word = int(tf.strings.to_hash_bucket_fast("w:ab", NGRAM_BUCKETS))
    of_letters = int(tf.strings.to_hash_bucket_fast("c:ab", NGRAM_BUCKETS))
    assert of_word != of_letters and dense[0, of_word] == dense[0, of_letters] == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transformed: the headlines, then an unlabelled one, an empty one and the first as another writes it."""
    folder = tmp_path_factory.mktemp("transformed")
    transform([*HEADLINES, *EXTRA], folder)
    return folder


OTHERWISE = HEADLINES[0].title.upper().replace("O", "O\u200b").replace("A", "A\u00ad")
EXTRA = [Headline("Xyzzy " * 40), Headline("", "unheard-of", "2022-02-01", 0.25), Headline(f"\ufeff“{OTHERWISE}”.")]


def test_labels_become_their_place_in_the_class_order_and_what_is_missing_is_unknown(folder: Path) -> None:
    batch = read_transformed(folder)
    label_ids = batch[transformed_name("sentiment")].numpy()[:, 0]
    assert [LABELS[label_id] for label_id in label_ids[:-3]] == [headline.sentiment for headline in HEADLINES]
    assert label_ids[-3:].tolist() == [UNKNOWN_LABEL_ID] * 3
    assert batch[transformed_name("weight")].numpy()[-3:, 0].tolist() == [1.0, 0.25, 1.0]


def test_tokens_are_padded_with_0_and_rare_words_share_the_largest_id(folder: Path) -> None:
    batch = read_transformed(folder)
    tokens = batch[transformed_name("tokens")].numpy()
    counts = batch[transformed_name("token_count")].numpy()[:, 0]
    assert tokens.shape[1] == MAX_TOKENS
    assert counts[0] == len(HEADLINES[0].title.split())
    assert (tokens[0, : counts[0]] > 0).all() and not tokens[0, counts[0] :].any()
    assert counts[-2] == 0 and not tokens[-2].any()
    assert counts[-3] == MAX_TOKENS


def test_words_are_looked_up_as_the_table_spells_them_whatever_the_text_settings_keep(
    folder: Path, tmp_path: Path
) -> None:
    known = ["", *read_words()]
    transform([Headline("Eleição XYZZYX de")], tmp_path, {"text": {"lowercase": False, "strip_accents": False}})
    rows = read_transformed(tmp_path)[transformed_name("words")].numpy()[0]
    assert [known[row] for row in rows[:4]] == ["eleicao", "", "de", ""]
    rows = read_transformed(folder)[transformed_name("words")].numpy()[0]
    assert [known[row] for row in rows[:7]] == [*["governo", "anuncia", "crise", "e", "demissoes", "em", "sao"]]


def test_ngram_weights_are_sublinear_tf_idf_of_norm_1(folder: Path) -> None:
    ngrams = tf.sparse.to_dense(read_transformed(folder)[transformed_name("ngrams")]).numpy()
    np.testing.assert_allclose(np.linalg.norm(ngrams, axis=1), 1.0, rtol=1e-5)

    titles = [headline.title for headline in [*HEADLINES, *EXTRA]]
    counts = tf.sparse.to_dense(count_ngrams(normalise_text(tf.constant(titles), TextSettings()))).numpy()
    idf = np.log((1 + len(titles)) / (1 + (counts > 0).sum(axis=0))) + 1
    expected = np.where(counts > 0, (1 + np.log(np.maximum(counts, 1))) * idf, 0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(ngrams, expected, atol=1e-6)


def test_titles_that_read_the_same_lie_in_the_same_bucket_and_buckets_are_even(folder: Path) -> None:
    batch = read_transformed(folder)
    buckets = batch[transformed_name("title_bucket")].numpy()[:, 0]
    assert buckets[0] == buckets[-1]
    # So they do to the network: by words, by word vectors and by n-grams.
    for name in ("tokens", "token_count", "words"):
        read = batch[transformed_name(name)].numpy()
        assert read[0].tolist() == read[-1].tolist()
    ngrams = tf.sparse.to_dense(batch[transformed_name("ngrams")]).numpy()
    assert ngrams[0].tolist() == ngrams[-1].tolist()
    assert buckets.min() >= 0 and buckets.max() < TITLE_BUCKETS
    share_below_half = float(np.mean(buckets < TITLE_BUCKETS / 2))
    assert math.isclose(share_below_half, 0.5, abs_tol=0.1)


def test_text_settings_reach_the_transform_graph(tmp_path: Path) -> None:
    headlines = [Headline("Casa CASA casa", "neutral", "2022-02-01", 1.0)] * 3
    transform(headlines, tmp_path, {"text": {"lowercase": False}})
    assert len(set(read_transformed(tmp_path)[transformed_name("tokens")].numpy()[0, :3])) == 3
