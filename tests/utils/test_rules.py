"""Rules of keys, as they stand in comments."""

import pytest

from pointrecon.utils.rules import Rule, parse_rule


@pytest.mark.parametrize(
    "comment, rule",
    [
        ("a comment", Rule()),
        ("a comment [with brackets]", Rule()),
        ("[> 0] a rate", Rule(bounds=((">", 0.0),))),
        ("[2 values, >= 0, < 1] decays", Rule(length=2, bounds=((">=", 0.0), ("<", 1.0)))),
        ("[whole, >= -1]", Rule(kind=int, bounds=((">=", -1.0),))),
        ("[number, <= 0.5]", Rule(kind=float, bounds=(("<=", 0.5),))),
        ("[a | b-c | d:N, x = a, y = b-c]", Rule(choices=("a", "b-c", "d:N"), synonyms={"x": "a", "y": "b-c"})),
        ("[AdamW]", Rule(choices=("AdamW",))),
        ("[text]", Rule(kind=str)),
        ("[2 values, rising] a range", Rule(length=2, is_rising=True)),
    ],
)
def test_reading(comment, rule):
    assert parse_rule(comment) == rule


@pytest.mark.parametrize("comment", ["[>= x]", "[two values]", "[0 .. 1]", "[a |]", "[]"])
def test_our_own_mistakes(comment):
    with pytest.raises(ValueError, match="is no rule"):
        parse_rule(comment)


@pytest.mark.parametrize(
    "comment, value, problem",
    [
        ("[> 0]", 0, "must be above 0"),
        ("[>= 0, < 1]", 1.0, "must be at least 0 and below 1"),
        ("[>= 0, < 1]", [0.5, 1.5], "each must be at least 0 and below 1"),
        ("[2 values]", [1], "must have 2 values"),
        ("[a | bee]", "be", "must be one of: a, bee; did you mean 'bee'?"),
        ("[a | bee, wasp = bee]", "Wasp", "must be one of: a, bee; did you mean 'bee'?"),
        ("[a | <word>, wasp = a]", "wasp", "must be one of: a, <word>; did you mean 'a'?"),
        ("[cuda:N]", "cuda:one", "must be one of: cuda:N; did you mean 'cuda:N'?"),
        ("[< 4294967296]", 4294967296, "must be below 4294967296"),
        ("[2 values, rising]", [2, 1], "must go from the smaller to the larger number, such as [1, 2]"),
    ],
)
def test_what_is_wrong_is_said(comment, value, problem):
    assert parse_rule(comment).problem(value) == problem


@pytest.mark.parametrize(
    "comment, value",
    [
        ("[>= 0]", 0),
        ("[2 values, > 0]", [1, 2]),
        ("[2 values, rising]", [1, 1]),
        ("[a | b]", "b"),
        ("[cuda:N]", "cuda:12"),
        ("[a | <word>]", "zzz"),
        ("no rule", []),
    ],
)
def test_what_is_right_is_let_through(comment, value):
    assert parse_rule(comment).problem(value) is None
