"""open_clip networks as teachers; a tiny one with random weights, no download."""

import json

import pytest
import torch

from pointrecon.models.teachers import TEACHERS
from pointrecon.utils.errors import InputError

open_clip = pytest.importorskip("open_clip")

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    path = tmp_path_factory.mktemp("open_clip") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="module")
def teacher(description):
    return TEACHERS.build({"type": "OpenClipTeacher", "model": str(description), "pretrained": None})


def test_sees_pictures(teacher):
    images = torch.rand(2, 3, 32, 32)
    features = teacher.encode_image(images)
    assert teacher.dim == 16 and teacher.image_size == 32 and not features.requires_grad
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    expected = teacher.network.encode_image((images - mean) / std).detach()
    torch.testing.assert_close(features, expected)
    assert not torch.allclose(features.norm(dim=-1), torch.ones(2))


def test_reads_text(teacher):
    both = teacher.encode_text(["a chair.", "a lamp with a long cable."])
    assert both.shape == (2, 16) and not both.requires_grad
    torch.testing.assert_close(teacher.encode_text(["a chair."])[0], both[0])
    assert not torch.allclose(both[0], both[1])


def test_weights_file(teacher, description, tmp_path):
    torch.save(teacher.network.state_dict(), tmp_path / "weights.pt")
    other = TEACHERS.build(
        {"type": "OpenClipTeacher", "model": str(description), "pretrained": str(tmp_path / "weights.pt")}
    )
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(other.encode_image(images), teacher.encode_image(images))


def test_pictures_are_prepared_as_open_clip_says(teacher):
    config = teacher.network.visual.preprocess_cfg
    assert teacher.interpolation == config["interpolation"] == "bicubic" and teacher.image_size == config["size"][0]
    assert teacher.mean.flatten().tolist() == pytest.approx(config["mean"])
    assert teacher.std.flatten().tolist() == pytest.approx(config["std"])


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch):
    """A file of OpenAI's weights needs the network with their activation, which a tag would choose."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda model: ["openai"])
    with pytest.raises(InputError, match="open_clip_model.safetensors.*patch32_clip_224.openai.*'ViT-B-32-quickgelu'"):
        TEACHERS.build({"type": "OpenClipTeacher", "model": "ViT-B-32", "pretrained": "openai"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ViT-B-3"}, "did you mean 'ViT-B-32'"),
        ({"model": "no/such.json"}, "no network description"),
        ({"model": "ViT-B-32", "pretrained": "opena"}, "did you mean 'openai'"),
        ({"model": "ViT-B-32", "pretrained": "no/such.pt"}, "does not exist"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TEACHERS.build({"type": "OpenClipTeacher", **options})
