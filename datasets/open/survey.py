"""What --check-data says of the open-vocabulary distributions: OpenShape, ULIP-2, Uni3D, Objaverse-LVIS."""

import os
from pathlib import Path

from pointrecon.datasets.open.shards import FORMAT, MANIFEST
from pointrecon.datasets.open.zero_shot import LAYOUTS, LVIS, find_files
from pointrecon.datasets.survey import MISSING, THERE, Entry, Survey, count_files, faults_of, look_at
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json

FOLDER = "openshape"
NUM_OBJECTS = 874_402  # of train_all.json, as its users hold it
NUM_LVIS = 46_832  # by the paper; lists have 46,052 to 46,832
_PARTS = [f"000-{number:03d}.tar.gz" for number in range(160)]
_OTHERS = {"ShapeNet.tar.gz": "12.5 GB", "3D-FUTURE.tar.gz": "4.26 GB", "ABO.tar.gz": "2.04 GB"}
_LISTS = ("split/train_no_lvis.json", "split/train_all.json", "gpt4_filtering.json", "point_feat_knn.npy")
_LEAST = 1 << 16  # bytes of a tar file that holds something
_OPENSHAPE = "https://huggingface.co/datasets/OpenShape/openshape-training-data"
_ULIP = "https://huggingface.co/datasets/SFXX/ulip"
_UNI3D = "https://huggingface.co/BAAI/Uni3D (data/test_datasets.zip, 11 GB)"
_OBJAVERSE_TERMS = "Objaverse: ODC-By 1.0 as a whole, each object its own licence, some of them non-commercial"
_OTHER_TERMS = "ShapeNet: research, non-commercial; ABO: CC BY-NC 4.0; 3D-FUTURE: research"
_TERMS = f"openrail by its page; {_OBJAVERSE_TERMS}; {_OTHER_TERMS}"


def survey_open(root: str) -> list[Survey]:
    """The converted shards, what they are made of, and the test sets of others, below a data root."""
    base = Path(root)
    return [_shards(base), _distribution(base), _ulip_triplets(base), _ulip_tests(base), _uni3d(base), _lvis(base)]


def _shards(base: Path) -> Survey:
    folder, found, problem = base / FOLDER / "shards", 0, None
    tree = [look_at(folder, MANIFEST)]
    try:
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise InputError(f"'{folder / MANIFEST}' is no manifest of converted objects ({FORMAT})")
        sizes = _sizes(folder)
        shards = [(str(one["file"]), int(one["count"]), int(one["bytes"])) for one in manifest["shards"]]
        lacking = [f"{name} is missing or not whole" for name, _, size in shards if sizes.get(name) != size]
        found = sum(count for name, count, size in shards if sizes.get(name) == size)
        tree.append(count_files("*.safetensors", len(shards), lacking))
    except (InputError, KeyError, TypeError, ValueError) as error:
        problem = str(error) if isinstance(error, InputError) else f"'{folder / MANIFEST}' is damaged ({error!r})"
    lists = [look_at(base / FOLDER, f"meta_data/{name}", is_needed=number == 0) for number, name in enumerate(_LISTS)]
    source = f"python scripts/convert_openshape.py {base / FOLDER} --out {folder} (117 GB)"
    return Survey("OpenShape", folder, found, NUM_OBJECTS, problem, source, _TERMS, [*tree, *lists])


def _distribution(base: Path) -> Survey:
    folder = base / FOLDER
    sizes = _sizes(folder) | {f"Objaverse/{name}": size for name, size in _sizes(folder / "Objaverse").items()}
    faults = faults_of([f"Objaverse/{name}" for name in _PARTS], sizes, _LEAST)
    tree = [
        count_files("Objaverse/000-NNN.tar.gz, about 185 GB", len(_PARTS), faults),
        *(look_at(folder, name, _LEAST, note=note) for name, note in _OTHERS.items()),
        look_at(folder, "meta_data.zip", note="529 MB; unpacked: meta_data", is_needed=False),
    ]
    found = len(_PARTS) - len(faults) + sum(entry.state == THERE for entry in tree[1:-1])
    total = len(_PARTS) + len(_OTHERS)
    return Survey(
        "OpenShape's distribution", folder, found, total, None, f"{_OPENSHAPE} (205 GB)", _TERMS, tree, "tar files"
    )


def _ulip_triplets(base: Path) -> Survey:
    folder, names = base / "ulip", ("ULIP_Objaverse_Triplets", "ULIP_Shapenet_Triplets")
    tree = [Entry(name, THERE if any((folder / name).glob("*")) else MISSING) for name in names]
    found = sum(entry.state == THERE for entry in tree)
    terms = f"{_OBJAVERSE_TERMS}; ShapeNet: research, non-commercial"
    return Survey("ULIP-2 triplets", folder, found, len(names), None, _ULIP, terms, tree, "folders")


def _ulip_tests(base: Path) -> Survey:
    folder = base / "ulip" / "ULIP-2"
    sizes = _sizes(folder / "objaverse_lvis")
    faults = faults_of(_PARTS, sizes, _LEAST)
    names = ("objaverse_lvis/lvis.json", "objaverse_lvis/objaverse_lvis_metadata.json")
    clouds = ("modelnet40_colored_10k_pc.npy", "modelnet40_test_split_10k_colored.json")
    tree = [
        count_files("objaverse_lvis/000-NNN.tar.gz", len(_PARTS), faults),
        *(look_at(folder, name) for name in names),
        *(look_at(folder, f"modelnet40_10k_colored_pc/{name}") for name in clouds),
    ]
    found = len(_PARTS) - len(faults) + sum(entry.state == THERE for entry in tree[1:])
    total = len(_PARTS) + len(names) + len(clouds)
    terms = f"{_OBJAVERSE_TERMS}; ModelNet40: research"
    return Survey("ULIP-2 test sets", folder, found, total, None, f"{_ULIP} (ULIP-2)", terms, tree, "files")


def _uni3d(base: Path) -> Survey:
    name = "objaverse_lvis/lvis_testset.txt"
    folder = next((path.parent.parent for path in find_files(base, name)), base / "uni3d_data")
    names = ("modelnet40/test_pc.npy", "modelnet40/test_split.json", "modelnet40/modelnet40_shape_names.txt")
    tree = [look_at(folder, one) for one in (name, *names, "scanobjectnn/xyz_label.npy")]
    found = sum(entry.state == THERE for entry in tree)
    terms = f"{_OBJAVERSE_TERMS}; ModelNet40, ScanObjectNN: research; training data were never released"
    return Survey("Uni3D test sets", folder, found, len(tree), None, _UNI3D, terms, tree, "files")


def _lvis(base: Path) -> Survey:
    """Objaverse-LVIS of whichever distribution has the most of it."""
    best = Survey(LVIS, base / FOLDER, 0, NUM_LVIS, None, f"{_OPENSHAPE}, or {_ULIP} (ULIP-2)", _OBJAVERSE_TERMS)
    for marker, layout in ((marker, layout) for marker, layout in LAYOUTS.items() if layout.name == LVIS):
        for path in find_files(base, marker):
            found, listed, problem = 0, NUM_LVIS, None
            try:
                made = layout.read(path, True)
                found = len(made)
                listed = found + sum(int(note.split()[0]) for note in made.notes if "have no file" in note)
            except InputError as error:
                problem = str(error)
            if found > best.found or (not best.found and not best.tree):
                tree = [look_at(path.parent, path.name)]
                best = Survey(LVIS, path.parent, found, listed, problem, best.source, best.terms, tree)
    return best


def _sizes(folder: Path) -> dict[str, int]:
    """Sizes in bytes of the files in a folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
