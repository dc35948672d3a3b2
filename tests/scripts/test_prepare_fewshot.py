"""The program from end to end on a miniature ModelNet40, and how it says what is wrong."""

import pickle

import numpy as np

from pointrecon.datasets.modelnet.class_names import MODELNET40
from tests.programs import call_program


def run(*arguments):
    return call_program("prepare_data.py", "fewshot", *arguments)


def test_makes_folds_where_the_data_set_looks_for_them(tmp_path):
    folder = tmp_path / "ModelNet" / "modelnet40_normal_resampled"
    folder.mkdir(parents=True)
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET40))
    for part in ("train", "test"):
        points = np.random.RandomState(part == "test").randn(800, 4, 3).astype(np.float32)
        first = 20 * (part == "test")
        ids = [f"{name}_{row:04d}" for name in MODELNET40 for row in range(first, first + 20)]
        (folder / f"modelnet40_{part}.txt").write_text("\n".join(ids))
        content = pickle.dumps([list(points), [row // 20 for row in range(800)]])
        (folder / f"modelnet40_{part}_4pts_fps.dat").write_bytes(content)
    done = run("--data_root", tmp_path, "--ways", 5, "--folds", 2, "--num_stored", 4)
    assert done.returncode == 0, done.stderr
    assert "4 folds in" in done.stdout
    made = sorted(str(path.relative_to(tmp_path / "ModelNetFewshot")) for path in tmp_path.rglob("*.pkl"))
    assert made == [f"5way{shots}shot/{fold}.pkl" for shots in (10, 20) for fold in (0, 1)]


def test_missing_modelnet_is_one_sentence(tmp_path):
    done = run("--data_root", tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: there is no ModelNet40")
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
