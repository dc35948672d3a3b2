"""Hints in error messages."""

import pytest

from pointrecon.utils.errors import InputError, check_choice, closest, nearest


def test_closest_ignores_case_and_gives_up_on_other_words():
    assert closest("recon", ["PointMAE", "ReCon"]) == "ReCon"
    assert closest("zebra", ["PointMAE", "ReCon"]) is None


def test_nearest_names_one_or_lists_all():
    assert nearest("dept", ["depth", "width"]) == "did you mean 'depth'?"
    assert nearest("zebra", ["depth", "width"]) == "allowed: depth, width"


def test_check_choice_says_what_is_allowed():
    check_choice("precision", "bf16", ("fp32", "bf16"))
    with pytest.raises(InputError, match="precision is 'bf61', but must be one of: fp32, bf16; did you mean 'bf16'"):
        check_choice("precision", "bf61", ("fp32", "bf16"))


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_a_long_message_loses_its_middle():
    assert str(InputError("a" * 2000)) == "a" * 2000
    text = str(InputError("'file' " + "x" * 10_000 + " do this"))
    assert len(text) < 2010 and text.startswith("'file' x") and " ... " in text and text.endswith("do this")
