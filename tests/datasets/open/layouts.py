"""The miniature objects in the layouts of Uni3D and ULIP-2."""

import json
import shutil

import numpy as np

from tests import ROOT

MINI = ROOT / "tests" / "fixtures" / "openshape_mini"
OBJECTS = MINI / "objaverse-processed" / "merged_for_training_final" / "Objaverse"
UIDS = ("000-000/00000000000000000000000000abc000", "000-159/00000000000000000000000000abc002")


def save_objects(path, value):
    array = np.empty((), object)
    array[()] = value
    if isinstance(value, list):
        array = np.empty(len(value), object)
        array[:] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=True)


def copy_objects(folder):
    for uid in UIDS:
        (folder / uid).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(OBJECTS / f"{uid}.npy", folder / f"{uid}.npy")


def make_uni3d(root):
    """uni3d_data as in BAAI/Uni3D's test_datasets.zip."""
    data = root / "uni3d_data"
    copy_objects(data / "Objaverse")
    lines = [
        f"{label},{name},{uid[8:]},/{uid}.npy" for label, name, uid in ((1, "chair", UIDS[0]), (0, "Band_Aid", UIDS[1]))
    ]
    (data / "objaverse_lvis").mkdir()
    (data / "objaverse_lvis" / "lvis_testset.txt").write_text("\n".join(lines) + "\n")
    shutil.copytree(MINI / "meta_data" / "modelnet40", data / "modelnet40")
    (data / "modelnet40" / "cat_name_pt_feat.npy").unlink()
    (data / "modelnet40" / "modelnet40_shape_names.txt").write_text("bathtub\nairplane\nnight_stand\n")
    random = np.random.RandomState(0)
    clouds = [random.randn(count, 3).astype(np.float32) for count in (50, 40)]
    save_objects(
        data / "scanobjectnn" / "xyz_label.npy", {"xyz": clouds, "label": [4, 9], "rgb": [c * 0 for c in clouds]}
    )
    return root


def make_ulip(root):
    """ULIP-2's two test sets."""
    data = root / "ULIP-2"
    copy_objects(data / "objaverse_lvis")
    places = {uid[8:]: f"{uid}.npy" for uid in UIDS}
    named = {UIDS[0][8:]: "chair", UIDS[1][8:]: "Band_Aid"}
    (data / "objaverse_lvis" / "lvis.json").write_text(json.dumps({**places, "unlabelled": "000-000/x.npy"}))
    metadata = {"value_to_key_mapping": named, "all_keys": ["Band_Aid", "Bible", "chair"], "key_to_id": {}}
    (data / "objaverse_lvis" / "objaverse_lvis_metadata.json").write_text(json.dumps(metadata))
    folder = data / "modelnet40_10k_colored_pc"
    folder.mkdir()
    shutil.copy(MINI / "meta_data" / "modelnet40" / "test_pc.npy", folder / "modelnet40_colored_10k_pc.npy")
    shutil.copy(
        MINI / "meta_data" / "modelnet40" / "test_split.json", folder / "modelnet40_test_split_10k_colored.json"
    )
    return root
