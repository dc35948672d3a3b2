"""Look-up by name, lazy import, and errors with the nearest name."""

import sys

import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.registry import Registry


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A package on disk with two modules; importing either leaves a trace in sys.modules."""
    package = tmp_path / "shape_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pointrecon.utils.registry import Registry\nSHAPES = Registry('shape', __name__)\n"
    )
    (package / "round.py").write_text(
        "from shape_package import SHAPES\n"
        "@SHAPES.register()\nclass Circle:\n"
        "    def __init__(self, radius, colour='red'):\n        self.radius, self.colour = radius, colour\n"
        "@SHAPES.register('blob')\ndef make_blob(**options):\n    return options\n"
    )
    (package / "inner").mkdir()
    (package / "inner" / "__init__.py").write_text("raise RuntimeError('packages inside are not imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import shape_package

    yield shape_package.SHAPES
    for name in [name for name in sys.modules if name.startswith("shape_package")]:
        del sys.modules[name]


def test_only_the_module_that_has_the_name_is_imported(registry, tmp_path):
    (tmp_path / "shape_package" / "square.py").write_text(
        "from shape_package import SHAPES\n@SHAPES.register()\nclass Square:\n    pass\n"
    )
    assert registry.names() == ["Circle", "Square", "blob"]
    assert not {"shape_package.round", "shape_package.square"} & set(sys.modules)
    assert registry.get("blob")(a=1) == {"a": 1}
    assert "shape_package.round" in sys.modules and "shape_package.square" not in sys.modules


def test_unknown_name_gives_the_nearest_and_all(registry):
    with pytest.raises(InputError, match=r"unknown shape 'circel'; did you mean 'Circle'\? there are: Circle, blob"):
        registry.get("circel")


def test_build_passes_options_and_extras_win(registry):
    circle = registry.build({"type": "Circle", "radius": 2, "colour": "blue"}, colour="green")
    assert (circle.radius, circle.colour) == (2, "green")


def test_build_refuses_an_option_that_the_constructor_does_not_take(registry):
    with pytest.raises(InputError, match=r"no option 'color'; did you mean 'colour'\?.*Circle\(radius, colour='red'\)"):
        registry.build({"type": "Circle", "radius": 2, "color": "blue"})


@pytest.mark.parametrize("word", ["None", "null", "nil"])
def test_a_word_for_nothing_is_refused_where_nothing_is_allowed(registry, tmp_path, word):
    (tmp_path / "shape_package" / "store.py").write_text(
        "from shape_package import SHAPES\n@SHAPES.register()\ndef Store(cache=None, mode='none'):\n    return mode\n"
    )
    with pytest.raises(InputError, match=f"shape 'Store' has cache='{word}'; did you mean null?"):
        registry.build({"type": "Store", "cache": word})
    assert registry.build({"type": "Store", "cache": None, "mode": word}) == word


def test_build_names_what_is_missing(registry):
    with pytest.raises(InputError, match="'Circle' needs 'radius'"):
        registry.build({"type": "Circle"})


@pytest.mark.parametrize("options", [{}, {"type": None}, None, "Circle"])
def test_build_needs_a_type(registry, options):
    with pytest.raises(InputError, match="a shape needs a 'type'"):
        registry.build(options)


def test_an_entry_with_free_keywords_takes_all(registry):
    assert registry.build({"type": "blob", "anything": 1}) == {"anything": 1}


def test_two_things_of_one_name_are_our_own_mistake():
    registry = Registry("shape", "unused")
    registry.register("x")(dict)
    registry.register("x")(dict)
    with pytest.raises(AssertionError):
        registry.register("x")(list)


def test_the_decorator_without_brackets_is_our_own_mistake():
    with pytest.raises(AssertionError):
        Registry("shape", "unused").register(dict)


def test_a_broken_module_breaks_nothing_else(registry, tmp_path):
    (tmp_path / "shape_package" / "torn.py").write_text(
        "from shape_package import SHAPES\nimport no_such_module\n@SHAPES.register()\nclass Torn:\n    pass\n"
    )
    assert registry.names() == ["Circle", "Torn", "blob"]
    assert list(registry.broken()) == ["shape_package.torn"] and registry.names() == ["Circle", "blob"]
    with pytest.raises(InputError, match="'Torn' is in 'shape_package.torn', which fails to import: .*no_such_mod"):
        registry.get("Torn")
    with pytest.raises(InputError, match="unknown shape 'Square'; there are: Circle, blob"):
        registry.get("Square")


def test_a_name_may_point_outside(registry, tmp_path):
    (tmp_path / "my_shapes.py").write_text("class Star:\n    def __init__(self, rays):\n        self.rays = rays\n")
    assert registry.build({"type": "my_shapes:Star", "rays": 5}).rays == 5
    with pytest.raises(InputError, match="takes no option 'ray'; did you mean 'rays'"):
        registry.build({"type": "my_shapes:Star", "ray": 5})
    sys.modules.pop("my_shapes")


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_module:Star", "cannot be imported .*No module named 'no_such_module'.*PYTHONPATH"),
        ("os:Star", "cannot be imported .*has no attribute 'Star'"),
        (":Star", "cannot be imported"),
        ("os:sep", "is str, but must be a class or function"),
    ],
)
def test_a_name_that_points_nowhere(registry, name, message):
    with pytest.raises(InputError, match=message):
        registry.get(name)
