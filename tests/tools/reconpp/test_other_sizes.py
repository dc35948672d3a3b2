"""The parity command on fixtures of other sizes and names than the bundled ones: nothing of these is assumed."""

import importlib.util

import numpy as np
import pytest

from tests import ROOT
from tests.tools.reconpp.made_fixtures import write_others, write_reconpp


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    return {"reconpp": write_reconpp(root / "a"), "others": write_others(root / "b")}


@pytest.fixture
def check(monkeypatch, capsys):
    """check(folder) -> exit code, what the command prints."""
    spec = importlib.util.spec_from_file_location("check_parity", ROOT / "scripts" / "check_parity.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def call(folder):
        monkeypatch.setattr("sys.argv", ["check_parity.py", str(folder)])
        code = program.exit_code(program.main)
        return code, "".join(capsys.readouterr())

    return call


@pytest.mark.parametrize("kind", ["reconpp", "others"])
def test_every_number_is_reproduced_and_each_that_is_changed_is_found(folders, check, kind):
    code, text = check(folders[kind])
    assert code == 0 and "not compared" not in text, text[-2000:]
    path = folders[kind] / "expected.npz"
    with np.load(path) as file:
        whole = dict(file)
    inputs = ("points", "mask", "img", "text", "labels", "param_names")
    results = [name for name in whole if name.rpartition(".")[2] not in inputs or ".loss." in name]
    assert len(results) == {"reconpp": 55, "others": 8}[kind]
    wrong = {name: whole[name].copy() for name in results}
    for array in wrong.values():
        array.flat[-1] += 1 if array.dtype.kind == "i" else max(1e-3, 0.01 * abs(array.flat[-1]))
    try:
        np.savez(path, **{**whole, **wrong})
        code, text = check(folders[kind])
    finally:
        np.savez(path, **whole)
    named = [line.split()[0] for line in text.partition("within tolerance")[2].splitlines()[1:]]
    assert code == 1 and sorted(named) == sorted(results), text[-2000:]
