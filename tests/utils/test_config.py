"""Bases, overrides, and a round trip through a file."""

import contextlib
import os
import time
from pathlib import Path

import pytest
import yaml
from easydict import EasyDict
from hypothesis import given, settings
from hypothesis import strategies as st

from pointrecon.utils.config import SCHEMA_FOLDER, flatten, load_config, merge, resolve_config, save_config, to_plain
from pointrecon.utils.errors import InputError
from tests import ROOT


@pytest.fixture
def folder(tmp_path):
    schema = tmp_path / "_base_"
    schema.mkdir()
    (schema / "a.yaml").write_text("optim: {lr: 5e-4, steps: [1, 2]}\n")
    (schema / "b.yaml").write_text(
        "epochs: 300\nname: x\ninit: null\nteachers: {image: {type: Cached, path: null, dim: 768}}\nevaluators: {}\n"
    )
    return tmp_path


def load(folder, text, *overrides):
    (folder / "leaf.yaml").write_text(text)
    return load_config(folder / "leaf.yaml", overrides, folder / "_base_")


def test_an_empty_file_gives_the_defaults(folder):
    cfg = load(folder, "")
    assert isinstance(cfg, EasyDict) and cfg.optim.lr == 5e-4 and cfg.epochs == 300
    assert list(cfg) == ["epochs", "name", "init", "optim", "teachers", "evaluators"]


def test_later_bases_win_and_the_leaf_wins_over_all(folder):
    (folder / "one.yaml").write_text("epochs: 1\noptim: {lr: 1.0, steps: [7]}\n")
    (folder / "two.yaml").write_text("_base_: one.yaml\nepochs: 2\n")
    (folder / "three.yaml").write_text("epochs: 3\n")
    cfg = load(folder, "_base_: [two.yaml, three.yaml]\noptim: {lr: 2}\n")
    assert (cfg.epochs, cfg.optim.lr, cfg.optim.steps) == (3, 2.0, [7])


def test_bases_are_relative_to_the_file_that_names_them(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "mid.yaml").write_text("_base_: ../top.yaml\n")
    (folder / "top.yaml").write_text("epochs: 9\n")
    assert load(folder, "_base_: sub/mid.yaml").epochs == 9


def test_overrides_come_last_and_are_yaml(folder):
    cfg = load(folder, "epochs: 5", "epochs=6", "optim.lr=1e-3", "init=null", "optim.steps=[3, 4]", "name='1e5'")
    assert (cfg.epochs, cfg.optim.lr, cfg.init, cfg.optim.steps, cfg.name) == (6, 1e-3, None, [3, 4], "1e5")


def test_scientific_notation_is_a_number_even_where_the_default_says_nothing(folder):
    assert load(folder, "init: 1e-4").init == 1e-4


def test_a_section_that_is_off_comes_back_with_its_defaults(folder):
    off = "teachers: {image: null}"
    assert load(folder, off).teachers.image is None
    assert load(folder, off, "teachers.image.type=Other").teachers.image == {"type": "Other", "path": None, "dim": 768}
    assert load(folder, "", "teachers.image.dim=3", "teachers.image=null").teachers.image is None


@pytest.mark.parametrize(
    "text, overrides, message",
    [
        ("_base_: leaf.yaml", (), "its own base"),
        ("_base_: nowhere.yaml", (), "no file '.*nowhere.yaml'"),
        ("_base_: 3", (), "must be a path or a list"),
        ("a: [", (), "not valid YAML"),
        ("- 1", (), "must hold 'key: value' lines"),
        ("epochs: 1\nepochs: 2", (), "key 'epochs' is given twice"),
        ("1: 2", (), "key 1 is not text"),
        ("epoch: 1", (), "unknown key 'epoch' in .*leaf.yaml; did you mean 'epochs'"),
        ("", ("optim.lrr=1",), "unknown key 'optim.lrr' in the override 'optim.lrr=1'; did you mean 'optim.lr'"),
        ("", ("epochs",), "not of the form key=value"),
        ("", ("=3",), "not of the form key=value"),
        ("", ("a..b=3",), "not of the form key=value"),
        ("", ("epochs=[",), "not valid YAML"),
        ("", ("epochs.x=1",), "'epochs' in the override"),
        ("", ("optim=3",), "is a section"),
        ("", ("evaluators.__class__=1",), "'__class__' is a name that Python needs"),
        ("evaluators: {get: 1}", (), "'get' is a name that Python needs"),
        ("evaluators: {a: !!timestamp 2001-01-01}", (), "a value of type date"),
        ("", (f"{'evaluators' + '.a' * 30}=1",), "deeper than 20 sections"),
    ],
)
def test_mistakes_are_named(folder, text, overrides, message):
    with pytest.raises(InputError, match=message):
        load(folder, text, *overrides)


def test_a_mistake_in_a_base_names_the_base(folder):
    (folder / "base.yaml").write_text("epoch: 1")
    with pytest.raises(InputError, match="in .*base.yaml"):
        load(folder, "_base_: base.yaml")


def test_a_longer_cycle_is_found(folder):
    (folder / "other.yaml").write_text("_base_: leaf.yaml")
    with pytest.raises(InputError, match="leaf.yaml -> other.yaml -> leaf.yaml"):
        load(folder, "_base_: other.yaml")


def test_one_base_by_two_ways_is_no_cycle(folder):
    (folder / "top.yaml").write_text("epochs: 4")
    for name in ("left", "right"):
        (folder / f"{name}.yaml").write_text("_base_: top.yaml")
    assert load(folder, "_base_: [left.yaml, right.yaml]").epochs == 4


def test_a_missing_file_gets_the_nearest_name(folder):
    (folder / "pretrain.yaml").write_text("")
    with pytest.raises(InputError, match="no config file .*did you mean '.*pretrain.yaml'"):
        load_config(folder / "pretain.yaml", (), folder / "_base_")


def test_a_pipe_is_no_config(folder):
    os.mkfifo(folder / "pipe.yaml")
    with pytest.raises(InputError, match="^config '.*pipe.yaml' is no plain file but a pipe, socket or device; give a"):
        load_config(folder / "pipe.yaml", (), folder / "_base_")
    with pytest.raises(InputError, match="'_base_' of .*leaf.yaml is 'pipe.yaml', but .* is no plain file"):
        load(folder, "_base_: pipe.yaml")


def test_a_saved_config_alone_loads_to_the_same(folder):
    cfg = load(folder, "teachers: {image: null}\nevaluators: {svm: {c: [1, {d: 2}]}}", "name='1e5'", "init='no'")
    save_config(cfg, folder / "saved.yaml")
    assert "_base_" not in (folder / "saved.yaml").read_text()
    again = load_config(folder / "saved.yaml", (), folder / "_base_")
    assert to_plain(again) == to_plain(cfg) and list(again) == list(cfg)


def make_folder_of_init(tmp_path_factory):
    """A folder whose schema has one key, which takes any value."""
    folder = tmp_path_factory.mktemp("init")
    (folder / "_base_").mkdir()
    (folder / "_base_" / "init.yaml").write_text("init: null")
    return folder


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.text(), st.floats(allow_nan=False), st.integers(), st.lists(st.text(max_size=5), max_size=3)))
def test_any_value_survives_a_round_trip(tmp_path_factory, value):
    folder = make_folder_of_init(tmp_path_factory)
    save_config({"init": value}, folder / "saved.yaml")
    assert load_config(folder / "saved.yaml", (), folder / "_base_").init == value


def test_the_projects_own_schema_round_trips(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    cfg = load_config(tmp_path / "empty.yaml")
    save_config(cfg, tmp_path / "saved.yaml")
    assert to_plain(load_config(tmp_path / "saved.yaml")) == to_plain(cfg)
    assert SCHEMA_FOLDER.is_dir()


def test_merge_and_flatten():
    merged = merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2], "e": {}})
    assert merged == {"a": {"b": 3, "c": 2}, "d": [2], "e": {}}
    assert flatten(merged) == {"a.b": 3, "a.c": 2, "d": [2], "e": {}}


def test_merge_changes_neither_side():
    old, new = {"a": {"b": 1}}, {"a": {"c": 2}}
    merge(old, new)
    assert old == {"a": {"b": 1}} and new == {"a": {"c": 2}}


def test_a_date_is_a_text(folder):
    cfg = load(folder, "name: 2001-99-99", "init=2001-01-01")
    assert (cfg.name, cfg.init) == ("2001-99-99", "2001-01-01")
    save_config(cfg, folder / "saved.yaml")
    assert load_config(folder / "saved.yaml", (), folder / "_base_") == cfg


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet=st.sampled_from("abc: {}[]&*!|>-?\n'\"#%,01.e_~\x85\ufeff<"), max_size=40), st.booleans())
def test_any_text_is_a_config_or_a_mistake(tmp_path_factory, text, is_override):
    folder = make_folder_of_init(tmp_path_factory)
    path = folder / "any.yaml"
    path.write_text("" if is_override else f"init:\n  {text}", encoding="utf-8")
    try:
        cfg = load_config(path, [f"init={text}"] if is_override else [], folder / "_base_")
    except InputError:
        return
    save_config(cfg, path)
    assert repr(load_config(path, (), folder / "_base_")) == repr(cfg)


@pytest.mark.parametrize(
    "text, number",
    [("010", 10), ("008", 8), ("-07", -7), ("1_000", 1000), ("1e2", 100), ("01.5", 1.5), ("1.", 1.0), (".5e1", 5.0)],
)
def test_a_number_is_what_a_person_reads(folder, text, number):
    assert load(folder, f"init: {text}").init == number, "where any value may stand"
    assert load(folder, "", f"optim.lr={text}").optim.lr == number
    if number == int(number):
        assert load(folder, f"epochs: {text}").epochs == number
        assert load(folder, f"epochs: '{text}'").epochs == number, "in quotes too"


@pytest.mark.parametrize("text", "0x10 0o17 0b11 1:30 1_0 1__0 _1 1_000_00 1,000 1e e5 1.5.2 --1".split())
def test_what_only_a_program_reads_as_a_number_is_refused(folder, text):
    assert load(folder, f"init: {text}").init == text, "a text, where any value may stand"
    for key in ("epochs", "optim.lr"):
        with pytest.raises(InputError, match=f"'{key}' .* must be a "):
            load(folder, "", f"{key}={text}")


@pytest.mark.parametrize("word, value", [("on", True), ("off", False), ("yes", True), ("No", False), ("true", True)])
def test_words_that_are_truth_values(folder, word, value):
    assert load(folder, f"init: {word}").init is value
    with pytest.raises(InputError, match="put it in quotes"):
        load(folder, f"name: {word}")


def test_texts_that_other_readers_take_for_numbers_are_saved_in_quotes(folder):
    names = ["0x10", "1:30", "1_0", "010", "on", "2001-01-01", "1e5"]
    for name in names:
        save_config({"name": name}, folder / "saved.yaml")
        assert yaml.safe_load((folder / "saved.yaml").read_text()) == {"name": name}
        assert load_config(folder / "saved.yaml", (), folder / "_base_").name == name


@pytest.mark.parametrize(
    "text",
    [
        "1" * 100_000 + "x",
        "1_" * 50_000,
        "1:" * 50_000,
        "." * 100_000,
        "1" * 100_000,
        "1e" * 50_000,
        "a" * 100_000,
        "[" * 50_000,
        "{a: " * 20_000,
        "'" * 100_000,
        "- " * 50_000,
        "? " * 50_000,
        "&a " * 30_000,
        "!" * 100_000,
    ],
    ids=lambda text: text[:3],
)
def test_long_texts_take_no_time(folder, text):
    """A pattern that tries every place for every place would take minutes for these."""
    start = time.process_time()
    for key in ("init", "epochs", text[:90_000].replace("=", "")):
        with contextlib.suppress(InputError):
            load(folder, "", f"{key}={text}")
    with contextlib.suppress(InputError):
        load(folder, f"init: {text}")
    assert time.process_time() - start < 10


def test_where_each_value_comes_from(folder, monkeypatch):
    monkeypatch.chdir(folder)
    Path("base.yaml").write_text("optim: {lr: 1.0, steps: [1]}\nevaluators: {svm: {c: 1}}\nteachers: {image: null}")
    Path("leaf.yaml").write_text("_base_: base.yaml\nepochs: 4\noptim: {lr: 2.0}")
    overrides = ["optim.steps=[3]", "evaluators.svm.d=2", "teachers.image.dim=3"]
    found = resolve_config("leaf.yaml", overrides, "_base_")
    assert found.cfg == load_config("leaf.yaml", overrides, "_base_")
    assert found.origins == {
        "epochs": "leaf.yaml",
        "optim.lr": "leaf.yaml",
        "optim.steps": "command line",
        "evaluators.svm.c": "base.yaml",
        "evaluators.svm.d": "command line",
        "teachers.image.dim": "command line",
    }


def test_a_byte_order_mark_is_no_part_of_a_config(folder):
    (folder / "leaf.yaml").write_bytes(b"\xef\xbb\xbfepochs: 7\n")
    assert load_config(folder / "leaf.yaml", (), folder / "_base_").epochs == 7


@pytest.mark.parametrize(
    "path, message",
    [
        ("cfgs", "'cfgs' is a folder; give a file, such as cfgs/.*yaml or cfgs/.*yaml"),
        ("tests", "'tests' is a folder without configs; give a file, such as cfgs/"),
        ("cfgs/finetune_modelnet.yaml", "did you mean 'cfgs/full/finetune_modelnet.yaml' or "),
        ("cfgs/PointGPT-S/finetune_scan_hardest.yaml", "did you mean .*'cfgs/full/finetune_scan_hardest.yaml'"),
        ("cfgs/pretrain.yaml", "did you mean .*'cfgs/pretrain/base.yaml'"),
        ("cfgs/classification/svm/modelnet40.yaml", "did you mean 'cfgs/svm/modelnet40.yaml'"),
        ("cfgs/quickstart/pretain.yaml", "did you mean 'cfgs/quickstart/pretrain.yaml'"),
        ("zzzzzz", "no config file 'zzzzzz'; there are [0-9]+, such as cfgs/"),
        ("x" * 5000, "no config file .*; there are [0-9]+, such as cfgs/"),
        ("a\0b", "no config file"),
    ],
)
def test_a_path_of_no_config_gets_the_nearest(monkeypatch, path, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message) as error:
        load_config(path)
    assert len(str(error.value)) < 600
