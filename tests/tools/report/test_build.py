"""The sections of the page, and a page that is kept current."""

import json
import shutil

import numpy as np
import pytest
import torch

from pointrecon.extensions import ops
from pointrecon.models.patches.masking import split_of_mask, take_groups
from pointrecon.tools.report import build
from pointrecon.tools.report.build import follow, make_page
from pointrecon.tools.report.network import find_networks
from pointrecon.tools.report.objects import Objects, find_objects
from pointrecon.tools.report.runs import find_runs
from pointrecon.tools.report.space import add_spaces, embed_objects
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json
from tests.tools.report.test_page import content_of


@pytest.fixture(scope="module")
def made(page):
    """Words and content of the page of all runs."""
    text = page.read_text(encoding="utf-8")
    return text.partition('<script type="application/json"')[0], content_of(text)


def sections(runs, **options):
    return {key: inside for key, _, inside in make_page(find_runs([runs]), **options).sections}


def test_seeds_make_a_band_and_a_mean(finished, made):
    loss = next(
        f for key, f in made[1]["figures"].items() if f["layout"].get("title", {}).get("text") == "loss, all terms"
    )
    records = [
        [json.loads(line) for line in (finished / f"tune-seed{seed}" / "metrics.jsonl").read_text().splitlines()]
        for seed in (0, 1)
    ]
    losses = np.array([[row["loss"] for row in rows if row["split"] == "train"] for rows in records])
    band, mean = (next(t for t in loss["data"] if bool(t.get("fill")) == is_band and t.get("name", "tune") == "tune")
                  for is_band in (True, False))  # fmt: skip
    np.testing.assert_allclose(mean["y"], losses.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(band["y"], [*losses.max(axis=0), *losses.min(axis=0)[::-1]], rtol=1e-5)


def test_the_interval_of_each_class_is_wilsons(finished, made):
    told = read_json(finished / "tune-seed0" / "result.json")["class_accuracy"]
    (trace,) = made[1]["figures"]["predictions-0-classes"]["data"]
    for name, place, up, down in zip(
        trace["y"], trace["x"], trace["error_x"]["array"], trace["error_x"]["arrayminus"], strict=True
    ):
        cell = told[name.split(" (")[0]]
        low, high = wilson(cell["accuracy"], cell["num_objects"])
        np.testing.assert_allclose([place - down, place, place + up], 100 * np.array([low, cell["accuracy"], high]))


def test_the_worst_mistake_comes_first(runs):
    path = runs / "tune-seed0" / "predictions.npz"
    data = dict(np.load(path))
    rows = np.arange(len(data["labels"]))
    data["predictions"] = (data["labels"] + 1) % 3
    data["probabilities"] = np.full((len(rows), 3), 0.1)
    data["probabilities"][rows, data["predictions"]] = 0.5 + rows / 100
    np.savez(path, **data)
    words = sections(runs / "tune-seed0", with_network=False)["predictions"]
    assert words.index(f" {0.5 + rows[-1] / 100:.2f}<") < words.index(f" {0.5 + rows[-2] / 100:.2f}<")
    assert f"{len(rows)} mistakes" in words and words.count("<canvas") == 12


def test_reconstructions_are_those_of_the_network(finished, made):
    known = made[1]["data"]["reconstructions"]["reconstruction-0"]
    assert len(known["ratios"]) == len(set(known["ratios"])) == 7  # of the 8 patches, 1 to 7
    runs = find_runs([finished])
    (network,), _ = find_networks(runs, find_objects(runs))
    points = network.objects.points(network.objects.pick(6))
    patches, centers = network.encoder.group(points)
    stop = len(known["ratios"]) // 2
    count = round(float(known["ratios"][stop].split()[0]) / 100 * centers.shape[1])
    split = network.module.draw_mask(centers, count, torch.Generator().manual_seed(0))
    _, _, split, rebuilt = network.module.reconstruct(points, split_of_mask(split.to_mask()))
    hidden = take_groups(patches, split.masked)
    told = [float(shape["stops"][stop]["chamfer"]) for shape in known["shapes"]]
    wanted = [1000 * float(ops.chamfer_distance(a, b)) for a, b in zip(rebuilt, hidden, strict=True)]
    assert len(told) == 6 and all(np.isfinite(told))
    np.testing.assert_allclose(told, wanted, rtol=0.02, atol=0.01)


def test_attention_of_each_query_and_layer_is_there(made):
    known = made[1]["data"]["attention"]["attention-0"]
    assert known["queries"] == ["cls", "image", "text"] and known["layers"] == 2
    assert all(len(shape["weights"]) == 2 and len(shape["weights"][0]) == 3 for shape in known["shapes"])
    assert len(made[1]["figures"]["attention-0-distance"]["data"]) == 3  # the mean and two heads


def test_the_map_has_each_object_where_the_picture_has_it(finished, made):
    objects = made[1]["data"]["maps"]["map-0"]
    figure = made[1]["figures"]["map-0"]["data"]
    rows = [row for trace in figure for row in trace["customdata"]]
    assert sorted(rows) == list(range(len(objects))) and all(item["cloud"] in made[1]["clouds"] for item in objects)
    lines = (finished / "pretrain" / "figures" / "tsne.csv").read_text().splitlines()[1:]
    drawn = sorted(round(float(line.rsplit(",", 2)[1]), 3) for line in lines)
    np.testing.assert_allclose(sorted(x for trace in figure for x in trace["x"]), drawn, atol=2e-3)


def test_a_network_embeds_what_no_file_holds(finished):
    runs = find_runs([finished])
    (network,), _ = find_networks(runs, find_objects(runs))
    space = embed_objects(network)
    with np.load(finished / "pretrain" / "embeddings.npz") as file:
        stored = dict(zip(file["ids"].tolist(), file["embeddings"], strict=True))
    assert set(space.ids) == set(stored)
    np.testing.assert_allclose(space.embeddings, [stored[key] for key in space.ids], atol=2e-4)


def test_files_alone_make_a_page_too(runs):
    words = sections(runs / "pretrain")
    assert "reconstruction-0" in words["reconstructions"] and "disabled" in words["reconstructions"]
    assert "There is no network" in words["attention"]
    assert "The nearest other object" in words["retrieval"]


def test_a_run_whose_data_is_gone_is_shown_without_clouds(runs, tmp_path):
    path = runs / "tune-seed0" / "config.yaml"
    lines = [f"data_root: {tmp_path / 'gone'}" if line.startswith("data_root") else line
             for line in path.read_text().splitlines()]  # fmt: skip
    path.write_text("\n".join(lines))
    words = sections(runs / "tune-seed0")["predictions"]
    assert "There are no clouds" in words and "<canvas" not in words and "Confusion matrix" in words


def test_an_object_that_cannot_be_read_is_told(finished, monkeypatch):
    def refuse(self, keys):
        raise InputError("object 'x' has NaN coordinates")

    monkeypatch.setattr(Objects, "points", refuse)
    words = {key: inside for key, _, inside in make_page(find_runs([finished / "tune-seed0"])).sections}
    assert "NaN coordinates" in words["attention"] and "NaN coordinates" in words["map"]
    words = {key: inside for key, _, inside in make_page(find_runs([finished / "pretrain"])).sections}
    assert "NaN coordinates" in words["reconstructions"] and "The nearest other object" in words["retrieval"]


def test_broken_arrays_are_told_and_the_rest_is_shown(runs):
    (runs / "tune-seed0" / "predictions.npz").write_bytes(b"?")
    (runs / "pretrain" / "embeddings.npz").write_bytes(b"?")
    words = sections(runs, with_network=False)
    assert "is not a complete .npz file" in words["predictions"] and "Confusion matrix" in words["predictions"]
    assert "is not a complete .npz file" in words["map"] and "<h2" not in words["map"]


def test_follow_writes_again_until_the_run_is_finished(runs, tmp_path):
    run, out = runs / "tune-seed0", tmp_path / "report.html"
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    kept = (run / "result.json").read_text()
    (run / "metrics.jsonl").write_text(lines[0])
    (run / "result.json").unlink()
    seen = []

    def wait(seconds):
        text = out.read_text()
        seen.append((seconds, content_of(text)["reload"], "epoch 1 of 2" in text, out.stat().st_mtime_ns))
        if len(seen) == 1:
            (run / "metrics.jsonl").write_text(lines[0] + lines[0])
        if len(seen) == 2:
            (run / "metrics.jsonl").write_text("".join(lines))
            (run / "result.json").write_text(kept)

    follow([run], out, seconds=7, with_network=False, wait=wait)
    assert [item[:3] for item in seen] == [(7, 7, True)] * 2 and seen[0][3] < seen[1][3]
    text = out.read_text()
    assert content_of(text)["reload"] is None and "finished after" in text


def test_follow_makes_slow_sections_seldom_and_keeps_them(finished, runs, tmp_path, monkeypatch):
    run, out = runs / "pretrain", tmp_path / "report.html"
    kept = (run / "result.json").read_text()
    (run / "result.json").unlink()
    made, maps = [], []
    monkeypatch.setattr(build.space, "add_spaces", lambda page, *rest: (made.append(1), add_spaces(page, *rest)))

    def wait(_):
        maps.append(content_of(out.read_text())["data"]["maps"])
        if len(maps) < 3:
            with (run / "metrics.jsonl").open("a") as file:
                file.write("\n")
        else:
            (run / "result.json").write_text(kept)

    follow([run], out, seconds=1, with_network=False, wait=wait)
    assert len(maps) == 3 and maps[0] == maps[1] == maps[2] and sum(made) == 2  # at first and at the end


def test_a_run_that_has_just_begun(runs):
    run = runs / "tune-seed1"
    for path in run.iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    words = sections(run)
    assert "epoch 0 of 2" in words["runs"] and "no curve" in words["curves"]


def test_the_map_of_a_collapsed_network_is_drawn(runs):
    path = runs / "pretrain" / "embeddings.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "embeddings": np.zeros_like(arrays["embeddings"])})
    words = sections(runs / "pretrain", with_network=False)
    assert "map-0" in words["map"] and "The nearest other object" in words["retrieval"]


def test_results_and_scores_of_odd_types_are_left_out(runs):
    result = runs / "tune-seed0" / "result.json"
    about = {**json.loads(result.read_text()), "num_objects": 10**400}
    about.pop("accuracy_interval", None)
    result.write_text(json.dumps(about))
    path = runs / "tune-seed0" / "predictions.npz"
    with np.load(path) as file:
        arrays = dict(file)
    scores = next(name for name in ("probabilities", "similarities") if name in arrays)
    np.savez(path, **{**arrays, scores: arrays[scores] > 0.5})
    words = sections(runs / "tune-seed0", with_network=False)
    assert "accuracy" in words["runs"] and "Confusion matrix" in words["predictions"]
