"""Prompt, normalisation and scores: the numbers of SQuAD's official script."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pastcli import qa

WORDS = st.lists(st.sampled_from("the river Ashlin 1583 a of Nile - é".split()), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "contains", "f1"),
    [
        ("The Ashlin!", "ashlin", 1, 1, 1),
        ("It is the Ashlin river", "Ashlin", 0, 1, 0.4),
        ("Ashlington", "Ashlin", 0, 0, 0),
        ("1583", "in 1583", 0, 0, 2 / 3),
        ("", "Ashlin", 0, 0, 0),
        ("the", "the", 1, 0, 1),
        ("U.S.A.", "usa", 1, 1, 1),
        ("to be or not to be", "to be to be", 0, 0, 0.8),
        ("Norway", "No.", 0, 0, 0),
        ("中国的首都是北京。", "北京", 0, 1, 0.4),  # written without spaces: by character, as MLQA's script has it
        ("「北京」", "北京。", 1, 1, 1),
        ("東京タワー", "京都", 0, 0, 2 / 7),
        ("на реке Москве", "реке Москве", 0, 1, 0.8),
        ("القاهرة", "القاهرة", 1, 1, 1),
        ("Beijing 北京 city", "Beijing", 0, 1, 0.5),  # by spaces, as the answer is
    ],
)
def test_scores_of_known_pairs(prediction, answer, exact, contains, f1):
    assert qa.exact_match(prediction, [answer]) == exact
    assert qa.contains(prediction, [answer]) == contains
    assert qa.f1(prediction, [answer]) == pytest.approx(f1)


def test_best_of_several_answers_counts_and_none_scores_zero():
    assert qa.f1("river Ashlin", ["Ashlin", "the river Ashlin"]) == 1
    assert qa.exact_match("x", []) == qa.contains("x", []) == qa.f1("x", []) == 0


def test_the_answer_is_the_first_line():
    assert qa.first_line("\n  Casper Dunmere \nQuestion: next") == "Casper Dunmere"
    assert qa.first_line(" \n ") == ""
    assert qa.prompt_for(" Who? ") == "Question: Who?\nAnswer:"


@given(WORDS, WORDS)
def test_scores_are_ordered_symmetric_and_in_range(a, b):
    exact, contains, f1 = qa.exact_match(a, [b]), qa.contains(a, [b]), qa.f1(a, [b])
    assert 0 <= f1 <= 1 and exact <= f1 and (contains == 0 or f1 > 0)
    assert f1 == pytest.approx(qa.f1(b, [a])) and exact == qa.exact_match(b, [a])
    assert qa.f1(a.upper() + " !", [b]) == pytest.approx(f1)
    assert qa.normalize(qa.normalize(a)) == qa.normalize(a)


@pytest.mark.parametrize("answer", ["Köln", "São Tomé", "Ångström", "Nguyễn", "각"])
def test_an_accent_is_one_however_it_was_typed(answer):
    """A Mac writes names of files, and many a corpus its texts, in two characters where a model says one."""
    composed, decomposed = (unicodedata.normalize(form, answer) for form in ("NFC", "NFD"))
    assert composed != decomposed
    for one, other in ((composed, decomposed), (decomposed, composed)):
        assert qa.exact_match(one, [other]) == qa.contains(f"in {one} lies", [other]) == qa.f1(one, [other]) == 1.0
    assert qa.exact_match("Koln", ["Köln"]) == 0.0
