"""Folders as model hubs keep them, and a hub that is a stand-in: nothing here asks the network."""

import json
import shutil
import sys
import types

import numpy as np
import pytest
import yaml
from safetensors import safe_open

import pointrecon
from pointrecon.tools.checkpoints.convert import convert
from pointrecon.tools.predict import command
from pointrecon.utils.errors import InputError
from tests.miniature import CLASSES

CLOUDS = np.random.RandomState(0).randn(3, 60, 3)


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """A hub whose repositories are folders."""
    root = tmp_path / "repositories"

    class Api:
        def create_repo(self, repo_id, private, exist_ok):
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, repo_id, folder_path, commit_message, allow_patterns):
            for name in allow_patterns:
                shutil.copy(f"{folder_path}/{name}", root / repo_id / name)
            return types.SimpleNamespace(commit_url=f"https://example.org/{repo_id}/commit/1")

    def snapshot_download(repo_id, revision, allow_patterns):
        if revision == "gone" or not (root / repo_id).is_dir():
            raise OSError(f"404: {repo_id} is not there\nand more lines")
        return str(root / repo_id)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=Api, snapshot_download=snapshot_download)
    )
    return root


@pytest.mark.parametrize("checkpoint", ["tiny_checkpoint", "classifier_checkpoint"])
def test_a_folder_gives_the_same_model_again(checkpoint, request, tmp_path):
    model = pointrecon.load_model(request.getfixturevalue(checkpoint))
    folder = model.save_pretrained(tmp_path / "my-model", licence="mit")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = pointrecon.load_model(folder)
    np.testing.assert_array_equal(again.embed(CLOUDS).embeddings, model.embed(CLOUDS).embeddings)
    assert again.class_names == model.class_names and again.num_points == 48
    if model.class_names:
        np.testing.assert_array_equal(again.classify(CLOUDS).scores, model.classify(CLOUDS).scores)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "pointrecon" and config["hidden_size"] == 24
    assert list(config["id2label"].values()) == model.class_names
    with safe_open(folder / "model.safetensors", "np") as file:
        assert file.metadata()["format"] == "pt"


def test_the_card_is_what_hubs_read_and_is_kept_when_it_was_edited(classifier_checkpoint, tmp_path):
    model = pointrecon.load_model(classifier_checkpoint)
    model.save_pretrained(tmp_path / "a", licence="cc-by-sa-4.0")
    _, front, text = (tmp_path / "a" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-sa-4.0" and yaml.safe_load(front)["library_name"] == "pointrecon"
    assert text.strip().startswith("# a\n") and ", ".join(CLASSES) in text
    (tmp_path / "a" / "README.md").write_text("my own card")
    model.save_pretrained(tmp_path / "a")
    assert (tmp_path / "a" / "README.md").read_text() == "my own card"


def test_to_a_hub_and_back(fake_hub, tiny_checkpoint):
    model = pointrecon.load_model(tiny_checkpoint)
    assert model.push_to_hub("me/chairs") == "https://example.org/me/chairs/commit/1"
    assert 'load_model("hf://me/chairs")' in (fake_hub / "me" / "chairs" / "README.md").read_text()
    for name in ("hf://me/chairs", "hf://me/chairs@main"):
        again = pointrecon.load_model(name)
        np.testing.assert_array_equal(again.embed(CLOUDS).embeddings, model.embed(CLOUDS).embeddings)
    for name in ("hf://me/gone", "hf://me/chairs@gone"):
        with pytest.raises(InputError, match="cannot be fetched: 404: me/[a-z]+ is not there$"):
            pointrecon.load_model(name)


def test_from_the_shell(fake_hub, tiny_checkpoint, tmp_path, capsys):
    assert command.main(["push", "--ckpt", str(tiny_checkpoint), "--to", str(tmp_path / "m")]) == 0
    assert command.main(["push", "--ckpt", str(tmp_path / "m"), "--to", "hf://me/again"]) == 0
    assert (fake_hub / "me" / "again" / "model.safetensors").is_file()


def test_what_is_no_model(tmp_path, monkeypatch, tiny_checkpoint):
    with pytest.raises(InputError, match="has no model.safetensors"):
        pointrecon.load_model(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'pointrecon\[hub\]'"):
        pointrecon.load_model("hf://me/chairs")
    with pytest.raises(InputError, match=r"pip install 'pointrecon\[hub\]'"):
        pointrecon.load_model(tiny_checkpoint).push_to_hub("me/chairs")


def test_conversion_keeps_what_a_user_needs(classifier_checkpoint, tmp_path):
    convert(classifier_checkpoint, tmp_path / "a.safetensors", "safetensors")
    assert pointrecon.load_model(tmp_path / "a.safetensors").class_names == CLASSES
