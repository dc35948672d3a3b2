"""Frozen means frozen, pictures are prepared as the network expects, and weights are found and matched."""

import hashlib
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pointrecon.models.teachers import TEACHERS
from pointrecon.models.teachers.base import FrozenTeacher, check_model_name, find_weights, load_weights, weights_hash
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.pictures import make_square


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))


def save(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_teacher_stays_frozen_when_the_student_trains():
    teacher = FrozenTeacher(network(), 4)
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_prepare_normalises():
    teacher = FrozenTeacher(network(), 4, image_size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    images = torch.rand(2, 3, 8, 8)
    expected = torch.stack([(images[:, 0] - 0.1) / 0.5, (images[:, 1] - 0.2) / 0.25, images[:, 2] - 0.3], dim=1)
    torch.testing.assert_close(teacher.prepare(images), expected)


def test_prepare_keeps_the_middle_of_a_wide_picture():
    teacher = FrozenTeacher(network(), 4, image_size=8)
    images = torch.zeros(1, 3, 16, 48)
    images[..., 16:32] = 1
    prepared = teacher.prepare(images)
    assert prepared.shape == (1, 3, 8, 8)
    assert (prepared[..., 1:-1] > 0.99).all()


def test_prepare_stays_in_range():
    """Bicubic resizing overshoots at edges."""
    images = torch.zeros(1, 3, 10, 10)
    images[..., 5:] = 1
    prepared = FrozenTeacher(network(), 4, image_size=32).prepare(images)
    assert prepared.min() == 0 and prepared.max() == 1


def test_pictures_are_scaled_as_the_network_expects():
    images = torch.rand(1, 3, 20, 20)
    shown = {name: FrozenTeacher(network(), 4, 8, interpolation=name).fit(images) for name in ("bicubic", "bilinear")}
    for name, fitted in shown.items():
        torch.testing.assert_close(fitted, make_square(images, 8, name))
    assert not torch.allclose(shown["bicubic"], shown["bilinear"])


class Seer(FrozenTeacher):
    """Notes how it is asked."""

    def forward_image(self, images):
        self.asked = (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), images.dtype)
        return self.network(images).flatten(1)


def test_pictures_are_seen_in_the_networks_own_precision_and_in_inference_mode():
    teacher = Seer(nn.Conv2d(3, 4, 8), 4, image_size=8)
    with torch.autocast("cpu", torch.bfloat16):
        features = teacher.encode_image(torch.rand(2, 3, 8, 8))
    assert teacher.asked == (True, False, torch.float32)
    assert features.dtype == torch.float32 and not features.is_inference()
    teacher.network.to(torch.bfloat16)
    assert teacher.encode_image(torch.rand(2, 3, 8, 8)).dtype == torch.float32
    assert teacher.asked == (True, False, torch.bfloat16)


def test_hash_of_weights(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("a.bin", "folder/b.bin"):
        (tmp_path / name).write_bytes(b"weights")
    file, folder = weights_hash(str(tmp_path / "a.bin")), weights_hash(str(tmp_path))
    assert file == hashlib.sha256(b"weights").hexdigest() and len(folder) == 64
    (tmp_path / "folder" / "b.bin").rename(tmp_path / "folder" / "c.bin")
    assert weights_hash(str(tmp_path)) != folder
    assert [weights_hash(text) for text in (None, "hub", "openai", "package:none/x", str(tmp_path / "no"))] == [
        None
    ] * 5


def test_teacher_refuses_what_it_cannot_take():
    teacher = FrozenTeacher(network(), 4)
    with pytest.raises(InputError, match="reads text only"):
        teacher.encode_image(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="sees pictures only"):
        teacher.encode_text(["chair"])


def test_weights_by_name_without_the_head(tmp_path):
    source, target = network(), network()
    state = {f"module.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"state_dict": state | {"module.fc.weight": torch.zeros(2, 4)}}, tmp_path / "weights.pth")
    load_weights(target, tmp_path / "weights.pth", head="fc")
    for name, tensor in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], tensor)


def test_weights_of_another_code_base_in_order(tmp_path):
    source, target = network(), network()
    state = {f"other_{number}": tensor for number, tensor in enumerate(source.state_dict().values())}
    load_weights(target, save(tmp_path, state | {"head.weight": torch.zeros(2, 4)}))
    for name, tensor in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], tensor)


def test_safetensors_are_matched_by_name_only(tmp_path):
    """Such a file does not keep the order in which it was written."""
    source, target = network(), network()
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    load_weights(target, tmp_path / "weights.safetensors")
    torch.testing.assert_close(target.state_dict()["0.weight"], source.state_dict()["0.weight"])
    save_file({f"x.{name}": tensor for name, tensor in source.state_dict().items()}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="such as '0.weight', which is not in the file"):
        load_weights(target, tmp_path / "weights.safetensors")


def test_weights_of_another_network_are_refused(tmp_path):
    state = network().state_dict()
    shorter = dict(list(state.items())[:-1])
    with pytest.raises(InputError, match="another network"):
        load_weights(network(), save(tmp_path, shorter))
    with pytest.raises(InputError, match="another network"):
        load_weights(network(), save(tmp_path, state | {f"more{number}": torch.zeros(1) for number in range(3)}))
    with pytest.raises(InputError, match=r"'0.weight' is \(5, 3, 1, 1\) in the file"):
        load_weights(network(), save(tmp_path, state | {"0.weight": torch.zeros(5, 3, 1, 1)}))


def test_unreadable_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="no tensors by name"):
        load_weights(network(), save(tmp_path, [1, 2]))
    path = tmp_path / "weights.pth"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="weights.pth.* is damaged"):
        load_weights(network(), path)
    with pytest.raises(InputError, match="folder"):
        load_weights(network(), tmp_path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_flipped_bit_and_a_program_are_refused(tmp_path):
    """torch alone would make a weight of the one."""
    path = save(tmp_path, network().state_dict())
    content, weight = path.read_bytes(), network().state_dict()["1.weight"].numpy().tobytes()
    place = content.index(weight)
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(InputError, match="does not match its checksum"):
        load_weights(network(), path)
    torch.jit.script(network()).save(path)
    with pytest.raises(InputError, match="TorchScript"):
        load_weights(network(), path)


def test_find_weights(tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.pth").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert find_weights("package:some_weights/model.pth") == package / "model.pth"
    assert find_weights("package:some_weights") == package
    assert find_weights(str(package / "model.pth")) == package / "model.pth"
    for missing in ("package:some_weights/other.pth", str(tmp_path / "none.pth")):
        with pytest.raises(InputError, match="does not exist"):
            find_weights(missing)
    with pytest.raises(InputError, match="'no_such_package', which is not installed.*teachers"):
        find_weights("package:no_such_package/model.pth")


@pytest.mark.parametrize("given", [1, 0.5, True, ["a"], {"a": 1}])
def test_weights_that_are_no_text_are_refused(given):
    with pytest.raises(InputError, match="the teacher's options.pretrained is .*, but must be a path or package:NAME"):
        find_weights(given)
    assert weights_hash(given) is None


def test_model_name_hint():
    check_model_name("timm", "resnet18", ["resnet18"])
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        check_model_name("timm", "resent18", ["resnet18", "vit"])
    with pytest.raises(InputError, match=r"timm.list_models\(\) in Python lists all 2"):
        check_model_name("timm", "qqqqq", ["resnet18", "vit"])


def test_registry_finds_every_teacher():
    assert {"TimmTeacher", "OpenClipTeacher", "SentenceTeacher"} <= set(TEACHERS.names())
