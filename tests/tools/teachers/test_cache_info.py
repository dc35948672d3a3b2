"""What a cache notes of how it was made, and what a config says of it, are the same notes."""

import torch

from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.models.teachers.base import FrozenTeacher
from pointrecon.tools.teachers.cache_info import image_info, picture_info, sentence_info, text_info


def test_image_notes_have_teacher_transform_and_weights(tmp_path):
    weights = tmp_path / "eye.pth"
    weights.write_bytes(b"weights")
    info = image_info({"type": "Eye", "pretrained": str(weights), "depth": 3}, seed=5, is_published=True)
    assert info["teacher.type"] == "Eye" and info["teacher.depth"] == "3"
    assert info["transform.seed"] == "5" and info["transform.published"] == "true"
    assert info["transform.min_area"] == "0.64" and "FixMatch" in info["transform.rand_augment"]
    before = info["teacher.weights_sha256"]
    weights.write_bytes(b"other weights")
    after = image_info({"type": "Eye", "pretrained": str(weights)}, 5, True)["teacher.weights_sha256"]
    assert len(before) == 64 and before != after
    assert "teacher.weights_sha256" not in image_info({"type": "Eye", "pretrained": "hub"}, 0, False)


def test_what_the_network_was_shown():
    teacher = FrozenTeacher(torch.nn.Linear(1, 1).half(), 4, 32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.25), "bilinear")
    info = picture_info(teacher, 8)
    assert info["transform.num_views"] == "8" and info["transform.size"] == "32"
    assert info["transform.mean"] == "[0.5, 0.4, 0.3]" and info["transform.std"] == "[0.2, 0.2, 0.25]"
    assert info["transform.interpolation"] == "bilinear" and info["precision"] == "float16"


def test_text_notes_have_prompts_and_classes():
    info = text_info({"type": "Reader"}, ["chair", "lamp"])
    assert info["prompts.classes"] == "chair, lamp" and len(info["prompts.version"]) == 16
    many = text_info({"type": "Reader"}, [f"class {number}" for number in range(2000)])["prompts.classes"]
    assert len(many) < 100 and many != text_info({"type": "Reader"}, ["x"] * 2001)["prompts.classes"]
    assert sentence_info(20)["prompts.templates"] == f"20 of {len(TEMPLATES)}"
