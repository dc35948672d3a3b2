"""Making a teacher cache: every object under its own id, repeatable, with views that stay pictures."""

import pytest
import torch

from datasets.features import FeatureCache
from datasets.prompts import TEMPLATES, prompts_for
from tools.features import make_cache, vary
from utils.errors import InputError


class Shapes(torch.utils.data.Dataset):
    """Objects whose picture has one colour, by id."""

    class_names = ["seat", "socket_switch"]
    class_texts = ["seat", "socket or switch"]

    def __init__(self, ids, with_images=True):
        self.ids, self.names, self.with_images = ids, [f"Thing {name[0]}" for name in ids], with_images

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        sample = {"id": self.ids[index]}
        if self.with_images:
            random = torch.Generator().manual_seed(ord(self.ids[index][0]))
            sample["image"] = torch.rand(3, 16, 12, generator=random)
        return sample


class Teacher:
    """Its features are the mean colour, and the length and first letter of a sentence."""

    dim, image_size = 3, 8

    def __init__(self):
        self.batches = []

    def encode_image(self, images):
        self.batches.append(len(images))
        return images.mean(dim=(2, 3))

    def encode_text(self, texts):
        self.batches.append(len(texts))
        return torch.tensor([[len(text), ord(text[0]), sum(map(ord, text)) % 97] for text in texts]).float()


def make(path, datasets, **options):
    make_cache(path, datasets, Teacher(), Teacher(), **{"num_views": 3, "num_templates": 4, "batch_size": 5, **options})
    return FeatureCache(path)


def near(table, expected):
    torch.testing.assert_close(table, expected, rtol=0, atol=float(expected.abs().max()) / 250)


def test_features_belong_to_their_ids(tmp_path):
    first, second = Shapes(["d1", "a1", "c1"]), Shapes(["b1", "a2"])
    cache = make(tmp_path / "cache.h5", [first, second])
    for data in (first, second):
        plain = torch.stack([sample["image"].mean(dim=(1, 2)) for sample in (data[row] for row in range(len(data)))])
        near(cache.image_table(data.ids)[:, 0], plain)
        sentences = [prompts_for(name, cache.templates()) for name in data.names]
        near(cache.text_table(data.ids), torch.stack([Teacher().encode_text(row) for row in sentences]))
    classes = torch.stack([Teacher().encode_text(prompts_for(text, TEMPLATES)) for text in first.class_texts])
    near(cache.class_table(first.class_names), classes)


def test_cache_is_repeatable_and_independent_of_order_and_batches(tmp_path):
    first, second = Shapes(["d1", "a1", "c1"]), Shapes(["b1", "a2"])
    one, two = make(tmp_path / "1.h5", [first, second]), make(tmp_path / "2.h5", [second, first])
    assert one.path.read_bytes() == two.path.read_bytes()
    fewer = make(tmp_path / "3.h5", [second], batch_size=1, num_views=2)
    torch.testing.assert_close(fewer.image_table(second.ids), one.image_table(second.ids, num_views=2))
    other = make(tmp_path / "4.h5", [first, second], seed=1)
    views, others = one.image_table(first.ids), other.image_table(first.ids)
    torch.testing.assert_close(views[:, 0], others[:, 0])
    assert not torch.allclose(views[:, 1:], others[:, 1:])


def test_each_view_of_each_object_is_drawn_anew(tmp_path):
    """a1 and a2 have the same picture."""
    views = make(tmp_path / "cache.h5", [Shapes(["a1", "a2"])]).image_table(["a1", "a2"])
    torch.testing.assert_close(views[0, 0], views[1, 0])
    drawn = views[:, 1:].flatten(0, 1)
    assert (torch.cdist(drawn, drawn) + torch.eye(len(drawn)) > 1e-3).all()


def test_batches_are_no_larger_than_asked_for(tmp_path):
    teacher = Teacher()
    make_cache(tmp_path / "cache.h5", [Shapes(["a", "b", "c", "d"])], teacher, teacher, batch_size=3)
    assert max(teacher.batches) == 3


def test_one_teacher_is_enough(tmp_path):
    make_cache(tmp_path / "text.h5", [Shapes(["a"], with_images=False)], None, Teacher())
    assert set(FeatureCache(tmp_path / "text.h5").info) == {"text"}


def test_views_are_pictures_that_differ():
    picture = torch.zeros(3, 32, 24)
    picture[:, 8:24, 6:18] = 1
    views = torch.stack([vary(picture, torch.Generator().manual_seed(seed)) for seed in range(50)])
    assert views.shape == (50, 3, 32, 24) and views.isfinite().all()
    assert views.min() >= 0 and views.max() <= 1
    assert len({view.numpy().tobytes() for view in views}) == 50


def test_views_are_flipped_half_of_the_time():
    picture = torch.zeros(3, 32, 32)
    picture[..., 16:] = 1
    views = [vary(picture, torch.Generator().manual_seed(seed)) for seed in range(200)]
    flipped = sum(bool(view[..., :16].mean() > view[..., 16:].mean()) for view in views)
    assert 70 < flipped < 130


@pytest.mark.parametrize(
    ("datasets", "options", "message"),
    [
        ([Shapes(["a", "b"]), Shapes(["b"])], {}, "id 'b' occurs twice"),
        ([Shapes(["a"], with_images=False)], {}, "'a' has no picture"),
        ([Shapes(["a"])], {"num_views": 0}, "at least 1"),
        ([Shapes(["a"])], {"num_templates": 61}, "1 to 60"),
    ],
)
def test_mistakes_are_refused_and_leave_no_file(tmp_path, datasets, options, message):
    with pytest.raises(InputError, match=message):
        make(tmp_path / "cache.h5", datasets, **options)
    assert not list(tmp_path.iterdir())


def test_broken_features_are_refused(tmp_path):
    teacher = Teacher()
    teacher.encode_image = lambda images: torch.full((len(images), 3), float("nan"))
    with pytest.raises(InputError, match="'a' is not finite"):
        make_cache(tmp_path / "cache.h5", [Shapes(["a"])], teacher, None)
