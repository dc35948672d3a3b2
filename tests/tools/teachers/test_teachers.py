"""Teachers of whole runs: a missing cache is made once and shared, another is refused, live ones leave no trace."""

import io
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from pointrecon.datasets.teacher_cache.reader import FeatureCache
from tests import ROOT

NUM_OBJECTS = 24
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture
def pictured(tmp_path):
    """A data root with pictures and no cache, in the layout of the bundled data."""
    folder, random = tmp_path / "data" / "sweethome3d", np.random.RandomState(0)
    folder.mkdir(parents=True)
    with h5py.File(folder / "sweethome3d.h5", "w") as file:
        file["points"] = random.randn(NUM_OBJECTS, 64, 3).astype(np.float16) / 4
        file["class"] = np.arange(NUM_OBJECTS, dtype=np.int16) % 3
        file["split"] = (np.arange(NUM_OBJECTS) % 4 == 0).astype(np.int8)
        for name, text in (("id", "object"), ("name", "Thing ")):
            values = [f"{text}{row}" for row in range(NUM_OBJECTS)]
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        icons = file.create_dataset("icon_webp", (NUM_OBJECTS,), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(NUM_OBJECTS):
            picture = io.BytesIO()
            pixels = np.repeat(np.repeat(random.randint(0, 255, (4, 4, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)
            Image.fromarray(pixels).save(picture, "WEBP", lossless=True)
            icons[row] = np.frombuffer(picture.getvalue(), dtype=np.uint8)
        file.attrs["classes"] = ["ball", "plate", "rod", "other"]
    return tmp_path / "data"


@pytest.fixture
def weights(tmp_path):
    """Weights of a small network, so that each run sees the same."""
    import timm

    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "eye.pth")
    return tmp_path / "eye.pth"


@pytest.fixture
def flags(pictured, weights):
    """What makes a run use these: one object a name, an image teacher, no text teacher."""
    options = f"{{model: test_vit, pretrained: {weights}}}"
    image = ["teachers.image.type=TimmTeacher", f"teachers.image.options={options}", "teachers.image.num_views=2"]
    return [f"data_root={pictured}", "epochs=1", "teachers.text=null", "model.patch_width=32", *image]


@pytest.fixture
def clip(tmp_path):
    """Flags of a text teacher with the same random weights in each run."""
    import open_clip

    (tmp_path / "tiny.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path / "tiny.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny").state_dict(), tmp_path / "reader.pt")
    options = f"{{model: {tmp_path / 'tiny.json'}, pretrained: {tmp_path / 'reader.pt'}}}"
    return ["teachers.text.type=OpenClipTeacher", f"teachers.text.options={options}"]


def losses(folder):
    return [json.loads(line)["image"] for line in (folder / "metrics.jsonl").read_text().splitlines()[:-1]]


def test_a_missing_cache_is_made_once_and_shared_by_seeds(launch, flags, pictured):
    assert launch(*flags)[0] == 0
    path = pictured / "sweethome3d" / "teachers.h5"
    cache, made = FeatureCache(path), path.stat().st_mtime_ns
    assert cache.image_table([f"object{row}" for row in range(NUM_OBJECTS)]).shape[:2] == (NUM_OBJECTS, 2)
    assert (
        cache.info["image"]["teacher.model"] == "test_vit" and len(cache.info["image"]["teacher.weights_sha256"]) == 64
    )
    assert launch(*flags, "seed=1", name="other")[0] == 0
    assert path.stat().st_mtime_ns == made


def test_a_cache_of_other_things_is_refused_with_each_difference(launch, flags, weights, capsys):
    assert launch(*flags)[0] == 0
    content = torch.load(weights)
    torch.save({name: tensor + 1 for name, tensor in content.items()}, weights)
    code, folder = launch(*flags, "teachers.image.seed=7", name="other")
    message = capsys.readouterr().err
    assert code == 2 and not folder.exists()
    assert "transform.seed: given '7', cache '0'" in message and "teacher.weights_sha256: given '" in message
    assert "teacher.model" not in message and "cache_teacher_features.py" in message
    torch.save(content, weights)
    code, _ = launch(*flags, "teachers.image.num_views=3", name="views")
    assert code == 2 and "num_views is 3, but" in capsys.readouterr().err


def test_live_pictures_train_as_cached_ones_and_leave_no_trace(launch, flags, pictured):
    live = [*flags, "teachers.image.cached=false", "teachers.image.num_views=2"]
    code, folder = launch(*live, name="live")
    assert code == 0 and not (pictured / "sweethome3d" / "teachers.h5").exists()
    _, cached = launch(*flags, name="cached")
    np.testing.assert_allclose(losses(folder), losses(cached), rtol=2e-3)
    mine, theirs = (torch.load(path / "ckpt-last.pth")["base_model"] for path in (folder, cached))
    assert mine.keys() == theirs.keys() and not any("teacher" in name for name in mine)


def test_live_pictures_without_a_number_of_views_go_on_after_an_interruption(launch, flags, pictured):
    live = [*flags, "teachers.image.cached=false", "teachers.image.num_views=null", "epochs=2", "precision=bf16"]
    code, whole = launch(*live, "teachers.image.center=true", name="whole")
    assert code == 0 and len(losses(whole)) == 2
    _, again = launch(*live, "teachers.image.center=true", name="again")
    assert losses(whole) == losses(again)


def test_live_text_trains_as_cached_text(launch, flags, clip, pictured):
    both = [flag for flag in flags if flag != "teachers.text=null"] + clip
    _, live = launch(*both, "teachers.text.cached=false", "teachers.text.num_prompts=5", name="live")
    assert set(FeatureCache(pictured / "sweethome3d" / "teachers.h5").info) == {"image"}
    (pictured / "sweethome3d" / "teachers.h5").unlink()
    _, cached = launch(*both, "teachers.text.num_prompts=5", name="cached")
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (live, cached))
    assert abs(ours["train_text"] - theirs["train_text"]) < 1e-5 * theirs["train_text"]


def test_a_live_teacher_must_be_named(launch, pictured, capsys):
    code, _ = launch(f"data_root={pictured}", "teachers.image.cached=false")
    assert code == 2 and "name the teacher that is to run, one of: OpenClipTeacher" in capsys.readouterr().err


def test_random_weights_know_the_width_of_a_live_teacher(launch, flags, clip):
    both = [flag for flag in flags if flag not in ("teachers.text=null", "epochs=1")] + clip
    both += ["teachers.image.cached=false", "teachers.text.cached=false"]
    code, folder = launch(*both, "task=evaluate", "epochs=0", "evaluators={zero_shot: {}}")
    assert code == 0 and json.loads((folder / "result.json").read_text())["zero_shot_num_classes"] == 3


@pytest.mark.slow
def test_two_processes_make_the_cache_together(launch, flags, clip, pictured, tmp_path):
    both = [flag for flag in flags if flag != "teachers.text=null"] + clip
    assert launch(*both, "batch_size=4")[0] == 0
    path = pictured / "sweethome3d" / "teachers.h5"
    alone = path.read_bytes()
    path.unlink()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29663", "main.py"]
    command += ["--config", str(tmp_path / "cfgs" / "tiny.yaml"), "--exp_name", "two", *both, "batch_size=4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert path.read_bytes() == alone and not list(path.parent.glob(".*"))
