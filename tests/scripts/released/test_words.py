"""Which words the shipped table has: WordNet's files in miniature."""

import pytest
from released.words import class_names, read_nouns

# Meaning, lexicographer file, type, number of words (hexadecimal), words, number of pointers, pointers.
DATA = """  1 a line of the licence
00000001 03 n 01 thing 0 000 | anything
00000002 06 n 01 artifact 0 001 @ 00000001 n 0000 | made
00000003 06 n 02 chair 0 seat 0 001 @ 00000002 n 0000 | to sit on
00000004 06 n 01 rocking_chair 0 001 @ 00000003 n 0000 | rocks
00000005 06 n 01 drug 0 001 @ 00000002 n 0000 | a substance
00000006 06 n 01 aspirin 0 001 @ 00000005 n 0000 | one of them
00000007 05 n 01 dog 0 001 @ 00000001 n 0000 | barks
00000008 05 n 01 yeti 0 001 @ 00000001 n 0000 | never counted
"""
INDEX = """  1 a line of the licence
artifact n 1 1 @ 1 0 00000002
aspirin n 1 1 @ 1 0 00000006
chair n 2 1 @ 2 1 00000003 00000001
dog n 1 1 @ 1 1 00000007
drug n 1 1 @ 1 0 00000005
rocking_chair n 1 1 @ 1 0 00000004
thing n 1 0 1 0 00000001
yeti n 1 1 @ 1 0 00000008
"""
COUNTS = """chair%1:06:00:: 1 37
dog%1:05:00:: 1 42
thing%1:03:00:: 1 9
"""


@pytest.fixture
def wordnet(tmp_path):
    for name, text in (("data.noun", DATA), ("index.noun", INDEX), ("cntlist.rev", COUNTS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_counted_words_come_first_then_general_ones_and_no_drugs(wordnet):
    assert read_nouns(wordnet) == ["dog", "chair", "artifact", "rocking chair"]


def test_the_classes_of_the_data_sets_are_there_in_plain_letters():
    names = class_names()
    assert {"night stand", "range hood", "pin header"} <= set(names) and names == sorted(set(names))
