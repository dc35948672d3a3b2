"""Keys and types of configs."""

import functools

import pytest

from pointrecon.utils.config import check_part
from pointrecon.utils.errors import InputError
from pointrecon.utils.rules import parse_rule
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


TEXTS = Schema(
    {"out": "runs", "path": None, "any": None, "mode": "none", "type": "Net", "names": ["a"]},
    {"path": parse_rule("[text]"), "mode": parse_rule("[none | all]")},
)


@pytest.mark.parametrize("word", ["None", "none", "NULL", "nil", " Nothing ", "null"])
def test_a_word_for_nothing_is_no_text(word):
    with pytest.raises(InputError, match="'path' in .*must be text or null; did you mean null") as error:
        TEXTS.check({"path": word}, "test.yaml")
    assert f"A path of that name is written './{word.strip()}'" in str(error.value)
    with pytest.raises(InputError, match="'out' in .*must be text such as 'runs'"):
        TEXTS.check({"out": word}, "test.yaml")
    with pytest.raises(InputError, match="'names' in .*a word for nothing"):
        TEXTS.check({"names": ["b", word]}, "test.yaml")


def test_choices_and_names_of_classes_are_looked_at_where_they_are_known():
    tree = {"mode": "none", "type": "none", "any": "none", "path": "./None", "out": "nonesuch"}
    assert TEXTS.check(tree, "test.yaml") == tree
    with pytest.raises(InputError, match="'mode' in test.yaml is 'None', but must be one of: none, all; did you mean"):
        TEXTS.check({"mode": "None"}, "test.yaml")


@pytest.mark.parametrize("key", ["output_root", "data_root", "data.root", "data.cache_root", "init"])
def test_no_run_goes_into_a_folder_called_none(key):
    tree = functools.reduce(lambda value, part: {part: value}, reversed(key.split(".")), "None")
    with pytest.raises(InputError, match=f"'{key}' in test.yaml is 'None', a word for nothing"):
        check_part(tree, "test.yaml")


def test_choices_that_are_called_none_stay():
    tree = {"classifier": {"freeze": "none"}, "teachers": {"image": {"control": "none"}}}
    assert check_part(tree, "test.yaml") == tree


def test_a_section_names_a_key_that_there_is():
    for tree, hint in (
        ({"evaluators": {"svm": 3}}, "such as evaluators.svm.type, or"),
        ({"optim": 3}, "such as optim.type"),
        ({"evaluators": 3}, "such as evaluators.<name>"),
    ):
        with pytest.raises(InputError, match="is a section; set a key in it") as error:
            check_part(tree, "test.yaml")
        assert hint in f"{error.value}, or"


def test_a_range_whose_ends_are_swapped_is_refused():
    for scale in ([2, 1], [1.5, 0.5]):
        with pytest.raises(InputError, match="'data.augment.scale' .* must go from the smaller to the larger number"):
            check_part({"data": {"augment": {"scale": scale}}}, "test.yaml")
    assert check_part({"data": {"augment": {"scale": [1, 1]}}}, "test.yaml")["data"]["augment"]["scale"] == [1, 1]
    assert check_part({"optim": {"betas": [0.95, 0.9]}}, "test.yaml"), "no range"


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
