"""Keys and types of configs."""

import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.schema import Schema

SCHEMA = Schema(
    {
        "epochs": 300,
        "seed": 0,
        "deterministic": False,
        "select": "last",
        "init": None,
        "keep": [],
        "betas": [0.9, 0.999],
        "optim": {"type": "AdamW", "lr": 5e-4},
        "teachers": {"image": {"type": "Cached", "path": None}, "text": {"dim": 512}},
        "evaluators": {},
    }
)


def check(tree):
    return SCHEMA.check(tree, "test.yaml")


@pytest.mark.parametrize("value, expected", [("1e-4", 1e-4), (1, 1.0), (0.5, 0.5), ("3", 3.0)])
def test_float_takes_numbers_and_their_texts(value, expected):
    lr = check({"optim": {"lr": value}})["optim"]["lr"]
    assert lr == expected and type(lr) is float


@pytest.mark.parametrize("value, expected", [(3, 3), (3.0, 3), ("3", 3), (-1, -1)])
def test_int_takes_whole_numbers(value, expected):
    epochs = check({"epochs": value})["epochs"]
    assert epochs == expected and type(epochs) is int


@pytest.mark.parametrize(
    "tree",
    [
        {"epochs": 1.5},
        {"epochs": "abc"},
        {"epochs": True},
        {"epochs": None},
        {"epochs": [1]},
        {"epochs": {"a": 1}},
        {"epochs": float("inf")},
        {"optim": {"lr": "fast"}},
        {"optim": {"lr": float("nan")}},
        {"optim": {"lr": False}},
        {"deterministic": 1},
        {"deterministic": "yes"},
        {"select": 3},
        {"select": None},
        {"keep": 5},
        {"keep": None},
        {"betas": [0.9, "x"]},
        {"optim": 3},
        {"optim": None},
        {"teachers": {"text": None}},
        {"teachers": {"image": "none"}},
        {"evaluators": ["svm"]},
    ],
)
def test_wrong_types_are_refused_with_file_and_key(tree):
    with pytest.raises(InputError, match="in test.yaml") as error:
        check(tree)
    assert f"'{next(iter(tree))}" in str(error.value)


def test_message_says_what_was_given_and_what_is_allowed():
    with pytest.raises(InputError) as error:
        check({"epochs": "abc"})
    assert str(error.value) == "'epochs' in test.yaml is 'abc' (str), but must be a whole number such as 300"


@pytest.mark.parametrize(
    "tree, hint",
    [
        ({"epoch": 3}, "unknown key 'epoch' in test.yaml; did you mean 'epochs'"),
        ({"optim": {"lrr": 3}}, "unknown key 'optim.lrr' in test.yaml; did you mean 'optim.lr'"),
        ({"lr": 3}, "unknown key 'lr' in test.yaml; did you mean 'optim.lr'"),
        ({"teachers": {"image": {"dim": 3}}}, "did you mean 'teachers.text.dim'"),
        ({"zzz": 3}, "allowed: epochs, seed, "),
    ],
)
def test_unknown_keys_are_refused_with_a_hint(tree, hint):
    with pytest.raises(InputError) as error:
        check(tree)
    assert hint in str(error.value)


def test_free_form_sections_and_null_defaults_take_anything():
    tree = {"evaluators": {"svm": {"c": "x"}}, "init": {"a": [1]}}
    assert check(tree) == tree


def test_fill_adds_defaults_and_keeps_a_section_that_is_off():
    full = SCHEMA.fill(check({"epochs": 5, "teachers": {"image": None}}))
    assert full["epochs"] == 5 and full["seed"] == 0
    assert full["teachers"] == {"image": None, "text": {"dim": 512}}


def test_null_empties_a_free_form_section():
    assert SCHEMA.fill(check({"evaluators": None}))["evaluators"] == {}


def test_fill_never_hands_out_the_defaults_themselves():
    SCHEMA.fill({})["betas"].append(1)
    assert SCHEMA.fill({})["betas"] == [0.9, 0.999]


def test_whole_numbers_of_any_size():
    assert check({"seed": 2**60 + 1}) == {"seed": 2**60 + 1}, "no float holds this number"
    with pytest.raises(InputError, match="must be a whole number"):
        check({"seed": 10**400})
