"""Every key that a config may have: its type, its length and its range are checked, and `Settings` knows it."""

import math
import typing

import pytest

from pointrecon.tools.settings import Settings
from pointrecon.utils.config import SCHEMA_FOLDER, flatten, load_config, load_schema, save_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.rules import Rule
from pointrecon.utils.schema import ANY

SCHEMA = load_schema()
SECTIONS = [key for key in SCHEMA.keys() if isinstance(default_of := SCHEMA.default_of(key), dict) and default_of]
FREE = [key for key in SCHEMA.keys() if SCHEMA.default_of(key) == {}]
KEYS = [key for key in SCHEMA.keys() if key not in SECTIONS and key not in FREE]
# A text that names a file, a folder or a registered class may be any text.
OPEN_TEXTS = {"task", "data_root", "output_root", "type", "block"}


def rule_of(key):
    return SCHEMA.rules.get(key, Rule())


def kind_of(key):
    """The type of a key's value; of the elements, for a list."""
    default = SCHEMA.default_of(key)
    if rule_of(key).kind is not None:
        return rule_of(key).kind
    return type(default[0]) if isinstance(default, list) else type(default)


def is_list(key):
    return isinstance(SCHEMA.default_of(key), list)


def wrap(key, value):
    return [value] * (rule_of(key).length or 1) if is_list(key) else value


def wrong_values(key):
    """Values that the key may not have: other types, other lengths, and what lies beyond each bound."""
    kind, rule = kind_of(key), rule_of(key)
    others = {
        bool: [1, "yes", 0.5],
        int: [1.5, "abc", True, math.inf, math.nan, "0x10", "1:30", "", " 3", 10**400],
        float: ["abc", True, math.inf, math.nan, "1e", "", 10**400],
        str: [3, 1.5, True],
    }
    values = [wrap(key, value) for value in others[kind]]
    values += [3, "abc", {"a": 1}] if is_list(key) else [wrap_list for wrap_list in ([], [1], {"a": 1})]
    if rule.length:
        right = SCHEMA.default_of(key)
        values += [right[:-1], [*right, right[-1]], []]
    for sign, bound in rule.bounds:
        step = max(abs(bound), 1) * (1 if kind is int else 1e-6)
        beyond = {">=": bound - step, ">": bound, "<=": bound + step, "<": bound}[sign]
        values.append(wrap(key, kind(beyond)))
        values.append(wrap(key, {">": -1e9, "<": 1e12}[sign[0]]))
    if rule.choices and not any(choice.startswith("<") for choice in rule.choices):
        values += ["", "no such word", *rule.synonyms]
    if SCHEMA.default_of(key) is not None:
        values.append(None)
    return values


def place(key, value):
    """The tree that sets one key; a name that may be any is called `other`."""
    for part in reversed(key.replace(ANY, "other").split(".")):
        value = {part: value}
    return value


def test_there_is_something_to_check():
    assert len(KEYS) > 80 and {"optim.betas", "data.fold", "teachers.<name>.path", "model.queries.<name>"} <= set(KEYS)
    assert set(FREE) >= {"data.options", "evaluators.<name>"}


@pytest.mark.parametrize("key", KEYS)
def test_every_wrong_value_is_refused_by_name(key):
    path = key.replace(ANY, "other")
    for value in wrong_values(key):
        with pytest.raises(InputError) as error:
            SCHEMA.check(place(key, value), "a.yaml")
        message = str(error.value)
        assert message.startswith(f"'{path}' in a.yaml is ") and "must" in message, (value, message)
        assert message.count("\n") == 0 and len(message) < 600


@pytest.mark.parametrize("key", SECTIONS)
def test_a_section_is_no_value(key):
    for value in (3, "abc", True, [1]):
        with pytest.raises(InputError, match="is a section; set a key in it"):
            SCHEMA.check(place(key, value), "a.yaml")


@pytest.mark.parametrize("key", FREE)
def test_a_free_section_is_no_value(key):
    for value in (3, "abc", True, [1]):
        with pytest.raises(InputError, match="is a section; set a key in it"):
            SCHEMA.check(place(key, value), "a.yaml")


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_what_its_type_needs(key):
    """A number has a range, a null default has a type, a text has choices unless it names something."""
    kind, rule, default = kind_of(key), rule_of(key), SCHEMA.default_of(key)
    assert kind in (bool, int, float, str), "write the type in brackets at the start of the comment: utils/rules.py"
    if kind in (int, float):
        assert rule.bounds, "write the range in brackets at the start of the comment, such as [>= 0]"
    if kind is str:
        assert rule.choices or default is None or key.split(".")[-1] in OPEN_TEXTS
    if is_list(key) and default:
        assert rule.length == len(default)
    assert default is None or rule.problem(default) is None, "the default is not allowed"


@pytest.mark.parametrize("key", KEYS)
def test_what_is_on_the_edge_is_taken(key):
    kind, rule = kind_of(key), rule_of(key)
    edges = [bound for sign, bound in rule.bounds if "=" in sign] or [SCHEMA.default_of(key)]
    for value in [*edges, *(choice for choice in rule.choices if "N" not in choice)]:
        whole = wrap(key, kind(value)) if value is not None and not isinstance(value, list) else value
        checked = SCHEMA.check(place(key, whole), "a.yaml")
        assert flatten(checked) == flatten(place(key, whole))


def test_what_other_programs_call_things_is_explained():
    for key, word, meant in (("device", "gpu", "cuda"), ("select", "best", "val"), ("precision", "bfloat16", "bf16")):
        with pytest.raises(InputError, match=f"did you mean '{meant}'"):
            SCHEMA.check(place(key, word), "a.yaml")
    with pytest.raises(InputError, match="or null; did you mean null"):
        SCHEMA.check({"data": {"fold": "None"}}, "a.yaml")
    with pytest.raises(InputError, match="switch it off with teachers.image=null"):
        SCHEMA.check({"teachers": {"image": "None"}}, "a.yaml")


def test_the_whole_schema_survives_a_round_trip(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    cfg = load_config(tmp_path / "empty.yaml")
    save_config(cfg, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == cfg
    assert ANY not in (tmp_path / "saved.yaml").read_text() and SCHEMA_FOLDER.is_dir()


@pytest.mark.parametrize("path", sorted(SCHEMA_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_a_file_of_the_schema_is_itself_a_config(tmp_path, path):
    (tmp_path / "empty.yaml").write_text("")
    assert load_config(path) == load_config(tmp_path / "empty.yaml")
    with pytest.raises(InputError, match="unknown key 'teachers.<name>'"):
        load_config(path, ["teachers.<name>.type=x"])


def settings_keys(kind, prefix=""):
    """Yields the dotted keys of a TypedDict; what maps any name to something ends there."""
    for key, inner in typing.get_type_hints(kind).items():
        path = f"{prefix}{key}"
        if typing.is_typeddict(inner):
            yield from settings_keys(inner, f"{path}.")
        else:
            yield path


def test_settings_are_the_keys_of_the_schema():
    """Sections of any name are one key there, whatever their own keys are."""
    named = {key.split(f".{ANY}")[0] for key in SCHEMA.keys() if ANY in key}
    free = {key.split(f".{ANY}")[0] for key in FREE} | named
    inside = {key for key in KEYS if not any(key.startswith(f"{section}.") for section in free)}
    typed = {key for key in settings_keys(Settings) if not any(key.startswith(f"{section}.") for section in free)}
    assert typed | free == inside | free
    assert typed - inside <= free


LIMITED = ("data.num_points", "classifier.num_classes", "num_workers", "num_votes")


@pytest.mark.parametrize("key", KEYS)
def test_what_no_machine_can_hold_and_no_number_survives_is_refused(key):
    """Sizes of networks and clouds, and what points are multiplied by or moved by."""
    if key.startswith(("data.augment.", "model.")) or key in LIMITED:
        if kind_of(key) in (int, float) and key != "model.stop_grad_until":  # a count of epochs
            with pytest.raises(InputError, match="at most|below"):
                SCHEMA.check(place(key, wrap(key, kind_of(key)(10**18))), "a.yaml")
