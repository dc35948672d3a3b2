"""The published commands, unchanged, each for a step or two on miniature data in the published layouts."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import run_seeds
import torch
from PIL import Image

import main
from pointrecon.datasets.modelnet.class_names import MODELNET40
from pointrecon.datasets.shapenetpart.files import CATEGORIES, FOLDER
from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.utils import program
from tests import ROOT
from tests.programs import fork_program

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
# What makes a command small; the commands themselves are the published ones.
SIZES = ["epochs=1", "batch_size=4", "device=cpu", "figures=false", "optim.warmup_epochs=0"]
SIZES += ["model.embed_dim=24", "model.depth=2", "model.num_heads=2", "model.num_groups=8", "model.group_size=4"]
SIZES += ["model.decoder_depth=1", "model.decoder_num_heads=2", "data.num_points=64", "teachers.image.num_views=2"]


def cloud(random, count=64, width=3):
    return random.randn(count, width).astype(np.float32)


def write_shapenet(root, random):
    folder = root / "ShapeNet55-34"
    for name in ("shapenet_pc", "shapenet_img", "ShapeNet-55"):
        (folder / name).mkdir(parents=True)
    categories = [{"catalogue": "2691156", "describe": "airplane"}, {"catalogue": "3001627", "describe": "chair"}]
    (folder / "shapenet55.json").write_text(json.dumps(categories))
    for split, count in (("train", 8), ("test", 4)):
        names = [f"{('02691156', '03001627')[n % 2]}-{split}{n}.npy" for n in range(count)]
        (folder / "ShapeNet-55" / f"{split}.txt").write_text("\r\n".join(names))
        for name in names:
            np.save(folder / "shapenet_pc" / name, cloud(random, 8192))
            picture = Image.fromarray(random.randint(0, 255, (24, 24, 3), dtype=np.uint8))
            picture.save(folder / "shapenet_img" / name.replace(".npy", ".png"))


def write_modelnet(root, random):
    folder = root / "ModelNet" / "modelnet40_normal_resampled"
    folder.mkdir(parents=True)
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET40))
    for split, count in (("train", 2), ("test", 1)):
        ids = [f"{name}_{number:04d}" for name in MODELNET40 for number in range(1 + 5 * (split == "test"), 99)[:count]]
        (folder / f"modelnet40_{split}.txt").write_text("\n".join(ids))
        for name in ids:
            path = folder / name[:-5] / f"{name}.txt"
            path.parent.mkdir(exist_ok=True)
            np.savetxt(path, cloud(random, 80, 6), delimiter=",", fmt="%.5f")


def write_scanobjectnn(root, random):
    folder = root / "ScanObjectNN" / "main_split"
    folder.mkdir(parents=True)
    for split, count in (("training", 30), ("test", 15)):
        with h5py.File(folder / f"{split}_objectdataset_augmentedrot_scale75.h5", "w") as file:
            file["data"] = np.stack([cloud(random) for _ in range(count)])
            file["label"] = np.arange(count) % 15


def write_fewshot(root, random):
    folder = root / "ModelNetFewshot" / "5way10shot"
    folder.mkdir(parents=True)
    for fold in range(2):
        parts = {"train": 50, "test": 10}
        content = {part: [(cloud(random, 64, 6), n % 5, n % 5) for n in range(size)] for part, size in parts.items()}
        (folder / f"{fold}.pkl").write_bytes(pickle.dumps(content))


def write_shapenetpart(root, random):
    folder = root / FOLDER
    (folder / "train_test_split").mkdir(parents=True)
    synsets = {name: f"{number:08d}" for number, name in enumerate(CATEGORIES)}
    lines = [f"{name}\t{synset}" for name, synset in synsets.items()]
    (folder / "synsetoffset2category.txt").write_text("\n".join(lines))
    for split in ("train", "val", "test"):
        ids = []
        for name, synset in synsets.items():
            (folder / synset).mkdir(exist_ok=True)
            rows = np.concatenate([cloud(random, 70, 6), np.resize(list(CATEGORIES[name]), (70, 1))], axis=1)
            np.savetxt(folder / synset / f"{split}.txt", rows, fmt="%.6f")
            ids.append(f"shape_data/{synset}/{split}")
        (folder / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(ids))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with miniature data sets under data/ and a description of a tiny CLIP network."""
    folder, random = tmp_path_factory.mktemp("world"), np.random.RandomState(0)
    for write in (write_shapenet, write_modelnet, write_scanobjectnn, write_fewshot, write_shapenetpart):
        write(folder / "data", random)
    (folder / "tiny-clip.json").write_text(json.dumps(TINY_CLIP))
    return folder


@pytest.fixture(scope="module")
def launch(world):
    """launch(command) runs what follows `python main.py` in this process and returns result.json."""

    def run(command, *changes):
        teacher = f"options={{model: {world / 'tiny-clip.json'}, pretrained: null}}"
        small = [*SIZES, f"data_root={world / 'data'}", f"output_root={world / 'out'}"]
        small += [f"teachers.text.{teacher}", "teachers.image.options={model: test_vit, pretrained: null}"]
        words = command.split()
        argv, sys.argv = sys.argv, ["main.py", *words, *small, *changes]
        try:
            assert main.main() == 0, command
        finally:
            sys.argv = argv
        config = Path(words[words.index("--config") + 1])
        name = words[words.index("--exp_name") + 1]
        return json.loads((world / "out" / config.stem / config.parent.name / name / "result.json").read_text())

    return run


@pytest.fixture(scope="module")
def pretrained(launch, world):
    """The checkpoint that the first command leaves."""
    result = launch("--config cfgs/pretrain/base.yaml --exp_name E")
    assert result["task"] == "pretrain" and result["train_image"] > 0 and result["train_text"] > 0
    assert (world / "data" / "ShapeNet55-34" / "teachers.h5").is_file()  # made once, by the teachers it names
    return world / "out" / "base" / "pretrain" / "E" / "ckpt-last.pth"


STORED = "data.options.num_stored=64"


def test_published_pretraining_has_features_and_shapes_of_its_own(launch, pretrained, world):
    result = launch("--config cfgs/pretrain/base.yaml --exp_name published", "protocol=published", "batch_size=2")
    assert {"whole_shapenet", "bgr_images", "extra_epoch"} <= result["quirks"].keys()
    log = (world / "out" / "base" / "pretrain" / "published" / "log.txt").read_text()
    assert "12 samples, 6 steps an epoch, 2 epochs" in log  # 8 + 4 shapes, one epoch more than asked for
    folder = world / "data" / "ShapeNet55-34"
    ours, theirs = (FeatureCache(folder / f"teachers{end}.h5") for end in ("", "-published"))
    ids = ["02691156-train0", "03001627-train1"]
    assert not torch.allclose(ours.image_table(ids), theirs.image_table(ids), rtol=0.05)
    torch.testing.assert_close(ours.text_table(ids), theirs.text_table(ids))


def test_finetune_scanobjectnn(launch, pretrained):
    command = f"--config cfgs/full/finetune_scan_hardest.yaml --finetune_model --exp_name E --ckpts {pretrained}"
    assert launch(command)["num_objects"] == 15


def test_finetune_and_test_modelnet(launch, pretrained, world):
    command = f"--config cfgs/full/finetune_modelnet.yaml --finetune_model --exp_name E --ckpts {pretrained}"
    tuned = launch(command, STORED)
    assert tuned["num_objects"] == 40 and tuned["select"] == "last"
    weights = world / "out" / "finetune_modelnet" / "full" / "E" / "ckpt-last.pth"
    tested = launch(
        f"--test --config cfgs/full/finetune_modelnet.yaml --exp_name T --ckpts {weights}", STORED, "epochs=0"
    )
    assert tested["accuracy"] == tuned["accuracy"] and tested["num_objects"] == 40


def test_svm(launch, pretrained):
    result = launch(f"--config cfgs/svm/modelnet40.yaml --svm --exp_name E --ckpts {pretrained}", STORED, "epochs=0")
    assert result["svm_num_objects"] == 40 and result["svm_num_train_objects"] == 80


def test_zeroshot(launch, pretrained, world):
    # The image teacher of this network has features of another width than CLIP's, so text alone can be compared.
    command = f"--config cfgs/zeroshot/modelnet40.yaml --zeroshot --exp_name E --ckpts {pretrained}"
    result = launch(command, STORED, "epochs=0", "evaluators.zero_shot.query=text")
    assert result["zero_shot_num_objects"] == 40 and result["zero_shot_num_classes"] == 40


def test_a_broken_picture_stops_pretraining_or_is_left_out(world, launch, tmp_path, capsys):
    shutil.copytree(world / "data" / "ShapeNet55-34", tmp_path / "ShapeNet55-34")
    (tmp_path / "ShapeNet55-34" / "teachers.h5").unlink(missing_ok=True)
    broken = tmp_path / "ShapeNet55-34" / "shapenet_img" / "03001627-train1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    changes = (f"data_root={tmp_path}", "batch_size=2")
    with pytest.raises(AssertionError):
        launch("--config cfgs/pretrain/base.yaml --exp_name stops", *changes)
    assert f"the picture '{broken}' cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "ShapeNet55-34" / "teachers.h5").exists()
    launch("--config cfgs/pretrain/base.yaml --exp_name skips", *changes, "data.on_error=skip")
    log = (world / "out" / "base" / "pretrain" / "skips" / "log.txt").read_text()
    assert "left out: 1 samples without image features, first '03001627-train1'" in log and "7 samples" in log


def test_fewshot(launch, pretrained):
    command = (
        f"--config cfgs/full/fewshot.yaml --finetune_model --ckpts {pretrained} --exp_name E --way 5 --shot 10 --fold 0"
    )
    assert launch(command)["num_objects"] == 10


def test_all_folds_in_one_command(world, pretrained, tmp_path, monkeypatch, capfd):
    """What is done stays for the same command; for another setting it is another run."""
    words = f"--config cfgs/linear/fewshot.yaml --folds 2 --exp_name all --ckpts {pretrained} --way 5 --shot 10".split()
    words += [*SIZES, f"data_root={world / 'data'}", f"output_root={world / 'out'}"]

    def repeat(*more):
        monkeypatch.setattr(sys, "argv", ["run_seeds.py", *words, *more])
        return program.exit_code(run_seeds.main)

    assert repeat() == 0, capfd.readouterr().err
    summary = json.loads((world / "out" / "fewshot" / "linear" / "all.json").read_text())
    assert summary["runs"] == ["all-fold0", "all-fold1"] and len(summary["metrics"]["accuracy"]["values"]) == 2
    assert f"accuracy {'':19} {summary['metrics']['accuracy']['mean']:.4f} ±" in capfd.readouterr().out
    assert all((world / "out" / "fewshot" / "linear" / f"all.{end}").is_file() for end in ("csv", "md", "tex"))
    log = tmp_path / "printed.txt"
    ascii_only = fork_program("run_seeds.py", *words, "--any_code", log=log, encoding="ascii")
    ascii_only.join(100)
    assert ascii_only.exitcode == 0 and "begins" not in log.read_text(), log.read_text()
    assert f"accuracy {'':19} {summary['metrics']['accuracy']['mean']:.4f} +-" in log.read_text()
    words[words.index("--way") + 1] = "10"
    assert repeat("--shot", "20") == 2
    told = capfd.readouterr()
    assert "data.way was 5, is 10" in told.out and "10way20shot" in told.err and "what is done is kept" in told.err


def test_part_segmentation(launch, pretrained):
    command = f"--config cfgs/partseg/finetune_shapenetpart.yaml --finetune_model --exp_name E --ckpts {pretrained}"
    result = launch(command, "data.options.num_points=64", "segmenter.feature_blocks=[1,2]")
    assert result["num_objects"] == 16 and 0 < result["instance_miou"] < 1


def test_two_processes(world, pretrained):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29617", "main.py"]
    command += "--launcher pytorch --sync_bn --config cfgs/pretrain/base.yaml --exp_name two".split()
    command += [*SIZES, f"data_root={world / 'data'}", f"output_root={world / 'out'}"]
    command += ["teachers.image.type=CachedFeatures", "teachers.text.type=CachedFeatures"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (world / "out" / "base" / "pretrain" / "two" / "result.json").is_file()


LAUNCHERS = {
    "pretrain": ("3 E", "--config cfgs/pretrain/base.yaml --exp_name E"),
    "cls": ("3 E P", "--config cfgs/full/finetune_scan_hardest.yaml --finetune_model --exp_name E --ckpts P"),
    "fewshot": (
        "3 E P 5 10 0",
        "--config cfgs/full/fewshot.yaml --finetune_model --exp_name E --ckpts P --way 5 --shot 10 --fold 0",
    ),
    "svm": ("3 E P", "--config cfgs/svm/modelnet40.yaml --svm --exp_name E --ckpts P"),
    "test": ("3 E P", "--test --config cfgs/full/finetune_modelnet.yaml --exp_name E --ckpts P"),
    "zeroshot": ("3 E P", "--config cfgs/zeroshot/modelnet40.yaml --zeroshot --exp_name E --ckpts P"),
    "seg": ("3 E P", "--config cfgs/partseg/finetune_shapenetpart.yaml --finetune_model --exp_name E --ckpts P"),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launchers_give_the_published_commands(name, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" "$@"\n')
    python.chmod(0o755)
    given, command = LAUNCHERS[name]
    run = lambda *words: subprocess.run(  # noqa: E731
        ["bash", str(ROOT / "scripts" / f"{name}.sh"), *words],
        env={**os.environ, "PYTHON": str(python)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run(*given.split(), "--seed", "7", "epochs=2").stdout.strip() == f"3 main.py {command} --seed 7 epochs=2"
    short = run("3")
    assert short.returncode == 2 and short.stdout == "" and f"usage: bash scripts/{name}.sh GPU" in short.stderr
