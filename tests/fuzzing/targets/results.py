"""What is fuzzed of results and plans: folders of runs as the report reads them, tables of runs, lists of files."""

import json
import random
from pathlib import Path

import numpy as np

from pointrecon.datasets.folder.listing import list_files
from pointrecon.tools.predict.inputs import read_labels
from pointrecon.tools.report.build import make_page
from pointrecon.tools.report.runs import find_runs
from pointrecon.tools.sweeps.read_table import read_table
from pointrecon.utils.config import load_config, save_config
from tests import ROOT
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import VALUES, spoil_array, spoil_bytes, spoil_text, spoil_tree

JSON_VALUES = [value for value in VALUES if not isinstance(value, bytes)]
TABLE = """pretrain: {config: cfgs/a.yaml, seeds: [0, 1], overrides: [epochs=1]}
out: somewhere
downstream:
  - {name: svm, config: cfgs/a.yaml, folds: [0, 1], metrics: {svm: svm_accuracy}, baselines: {random: cfgs/a.yaml}}
  - {name: tuned, config: cfgs/a.yaml, seeds: [0, 1]}
reference: recon
rows:
  - {name: recon}
  - {name: alone, overrides: [teachers.image=null], skip: [tuned], shared: [seed=3]}
  - {name: random, baseline: random}
  - {name: given, checkpoint: a.pth}
"""


def spoil_result(path: Path, rng: random.Random) -> None:
    """Changes words, values, arrays or bytes."""
    data = path.read_bytes()
    kind = rng.random()
    if kind < 0.25:
        path.write_bytes(spoil_bytes(data, rng))
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file}
        name = rng.choice(sorted(arrays))
        arrays[rng.choice((name, name, name, "x"))] = np.asarray(spoil_array(arrays.pop(name), rng))
        np.savez(path, **arrays)
    elif path.suffix == ".json" and kind < 0.7:
        tree = spoil_tree(json.loads(data), rng, lambda value, rng: rng.choice(JSON_VALUES))
        path.write_text(json.dumps(tree, skipkeys=True))
    elif path.suffix == ".jsonl" and kind < 0.7:
        lines = data.splitlines()
        place = rng.randrange(len(lines))
        tree = spoil_tree(json.loads(lines[place]), rng, lambda value, rng: rng.choice(JSON_VALUES))
        lines[place] = json.dumps(tree, skipkeys=True).encode()
        path.write_bytes(b"\n".join(lines))
    else:
        path.write_text(spoil_text(data.decode(errors="replace"), rng), encoding="utf-8", errors="surrogatepass")


def write_run(folder: Path) -> None:
    """A run of two epochs, whose data are not there."""
    run = folder / "finetune" / "quickstart" / "a-seed0"
    run.mkdir(parents=True)
    cfg = load_config(ROOT / "cfgs" / "quickstart" / "finetune.yaml", ["data_root=nowhere", "figures=false"])
    save_config(cfg, run / "config.yaml")
    values = {"loss": 1.5, "accuracy": 0.5, "lr": 1e-3}
    lines = [
        {"split": split, "epoch": epoch, "step": epoch, **values} for epoch in (1, 2) for split in ("train", "test")
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"accuracy": 0.5, "accuracy_interval": [0.2, 0.8], "num_objects": 6, "seed": 0, "commit": "f" * 40}
    result |= {"per_class_accuracy": {"chair": 0.5, "lamp": 1.0}, "config": "cfgs/a.yaml", "run": "a-seed0"}
    (run / "result.json").write_text(json.dumps(result))
    draw = np.random.RandomState(0)
    names, ids = np.array(["chair", "lamp"]), np.array([f"id{row}" for row in range(12)])
    labels = np.arange(12) % 2
    scores = draw.dirichlet((1, 1), 12).astype(np.float32)
    arrays = {"ids": ids, "labels": labels, "class_names": names}
    np.savez(run / "predictions.npz", predictions=scores.argmax(1), probabilities=scores, **arrays)
    split = np.array(["train", "test"])[np.arange(12) // 6]
    np.savez(run / "embeddings.npz", embeddings=draw.randn(12, 4).astype(np.float32), split=split, **arrays)


def read_run(folder: Path) -> None:
    """Makes the report's page."""
    page = make_page(find_runs([folder]), with_network=False).render()
    if "</html>" not in page:
        raise WrongResult("the page has no end")


def write_table(folder: Path) -> None:
    """A table of runs."""
    (folder / "cfgs").mkdir()
    (folder / "cfgs" / "a.yaml").write_text("seed: 0\n")
    (folder / "table.yaml").write_text(TABLE)


def read_plan(folder: Path) -> None:
    """Reads it."""
    table = read_table(folder / "table.yaml")
    if not table.rows or not all(isinstance(row.name, str) for row in table.rows):
        raise WrongResult("a table without rows")


def write_lists(folder: Path) -> None:
    """A table of files, and labels."""
    (folder / "files.csv").write_text("path,label,text,split\na.obj,chair,a chair,train\nb.obj,lamp,,test\n")
    (folder / "labels.txt").write_text("chair\nlamp\n")


def read_lists(folder: Path) -> None:
    """Reads both."""
    items, labels = list_files(folder / "files.csv"), read_labels(str(folder / "labels.txt"))
    if not all(item.id and isinstance(item.text, str) for item in items) or not all(labels):
        raise WrongResult("a file without a name, or no label")


FORMS = (
    Form("run", write_run, read_run, spoil_result),
    Form("table", write_table, read_plan, spoil_result),
    Form("lists", write_lists, read_lists, spoil_result),
)
