"""The pieces of a cache: each object and sentence in one of them, with what it is made of."""

import numpy as np
import pytest
import torch

from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.models.teachers.base import FrozenTeacher
from pointrecon.tools.teachers.work import OBJECTS_A_PIECE, PictureWork, TextWork, batches, check_finite
from pointrecon.utils.errors import InputError


class Teacher(FrozenTeacher):
    """The mean colour; the length of a sentence."""

    def __init__(self):
        super().__init__(torch.nn.Identity(), 3, image_size=8)

    def forward_image(self, images):
        return images.mean(dim=(2, 3))

    def forward_text(self, texts):
        return torch.tensor([[float(len(text))] * 3 for text in texts])


class Shapes(torch.utils.data.Dataset):
    class_names = class_texts = ["seat"]

    def __init__(self, count):
        self.ids = [f"{row:03d}" for row in range(count)][::-1]
        self.names = ["Thing"] * count

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return {"id": self.ids[index], "image": torch.full((3, 9, 9), int(self.ids[index]) / 255)}


def test_objects_are_cut_into_pieces_in_the_order_of_their_ids():
    work = PictureWork(Teacher(), 2)
    work.open([Shapes(2 * OBJECTS_A_PIECE + 3)])
    assert [len(piece) for piece in work.pieces] == [OBJECTS_A_PIECE, OBJECTS_A_PIECE, 3]
    last = work.compute(2)
    assert last["ids"].tolist() == [b"064", b"065", b"066"]
    assert last["features"].shape == (3, 2, 3) and last["features"].dtype == np.float32
    np.testing.assert_allclose(last["features"][:, 0, 0], np.array([64, 65, 66]) / 255, rtol=1e-3)


def test_pieces_of_other_objects_or_batches_have_another_key():
    def key(count, **options):
        work = PictureWork(Teacher(), **options)
        work.open([Shapes(count)])
        return work.key()

    assert key(3) == key(3) != key(4) and key(3) != key(3, batch_size=5)


def test_sentences_come_back_under_their_names():
    work = TextWork(Teacher(), 3)
    work.open([Shapes(4)])
    assert len(work.sentences) == 3 + len(TEMPLATES)  # one name, one class
    text = work.collect(lambda numbers: (work.compute(number) for number in numbers))
    assert text.features[0, :, 0].tolist() == [len(template.format("thing")) for template in work.templates]
    assert text.class_features[0, :, 0].tolist() == [len(template.format("seat")) for template in TEMPLATES]


def test_batches_and_what_is_not_finite():
    assert list(batches([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    check_finite(torch.ones(2, 3), ["a", "b"])
    with pytest.raises(InputError, match="'b' is not finite"):
        check_finite(torch.tensor([[1.0], [float("inf")]]), ["a", "b"])
