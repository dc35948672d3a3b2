"""Making a teacher cache: every object under its own id, the same bytes whatever comes between."""

import numpy as np
import pytest
import torch

import pointrecon.tools.teachers.work
from pointrecon.datasets.images.views import augment_images, enlarge, view_draws
from pointrecon.datasets.prompts import TEMPLATES, prompts_for
from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.models.teachers.base import FrozenTeacher
from pointrecon.tools.teachers.make_cache import is_made, make_cache, read_sentences
from pointrecon.tools.teachers.work import PictureWork, TextWork
from pointrecon.utils.errors import InputError


class Shapes(torch.utils.data.Dataset):
    """Objects whose picture depends on the first letter of their id."""

    class_names = ["seat", "socket_switch"]
    class_texts = ["seat", "socket or switch"]

    def __init__(self, ids, with_images=True, broken=()):
        self.ids, self.names, self.with_images = ids, [f"Thing {name[0]}" for name in ids], with_images
        self.broken = broken

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        if self.ids[index] in self.broken:
            return self[index - 1]
        sample = {"id": self.ids[index]}
        if self.with_images:
            random = torch.Generator().manual_seed(ord(self.ids[index][0]))
            sample["image"] = torch.rand(3, 16, 12, generator=random)
        return sample


class Teacher(FrozenTeacher):
    """Its features are the mean colour, and the length and first letter of a sentence."""

    def __init__(self, calls=10**6):
        super().__init__(torch.nn.Identity(), 3, image_size=8)
        self.batches, self.calls = [], calls

    def forward_image(self, images):
        self._count(len(images))
        return images.mean(dim=(2, 3))

    def forward_text(self, texts):
        self._count(len(texts))
        return torch.tensor([[len(text), ord(text[0]), sum(map(ord, text)) % 97] for text in texts]).float()

    def _count(self, size):
        self.batches.append(size)
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pointrecon.tools.teachers.work, "OBJECTS_A_PIECE", 2)
    monkeypatch.setattr(pointrecon.tools.teachers.work, "SENTENCES_A_PIECE", 50)


def make(path, datasets, teacher=None, num_views=3, num_templates=4, batch_size=5, seed=0, kinds=("image", "text")):
    teacher = teacher or Teacher()
    note = {"transform.seed": str(seed), "transform.num_views": str(num_views)}
    pictures = PictureWork(teacher, num_views, seed, note, batch_size) if "image" in kinds else None
    text = TextWork(teacher, num_templates, {"prompts.templates": str(num_templates)}, batch_size)
    make_cache(path, datasets, pictures, text if "text" in kinds else None)
    return FeatureCache(path)


def test_features_belong_to_their_ids(tmp_path):
    first, second = Shapes(["d1", "a1", "c1"]), Shapes(["b1", "a2"])
    cache = make(tmp_path / "cache.h5", [first, second])
    teacher = Teacher()
    for data in (first, second):
        images = torch.stack([data[row]["image"] for row in range(len(data))])
        table = cache.image_table(data.ids)
        torch.testing.assert_close(table[:, 0], teacher.encode_image(images), rtol=1e-3, atol=0)
        draws = view_draws(0, [(name, 2) for name in data.ids])
        second_view = teacher.encode_image(augment_images(enlarge(images, 8), draws, 8))
        torch.testing.assert_close(table[:, 2], second_view, rtol=1e-3, atol=2e-3)
        sentences = [prompts_for(name, cache.templates()) for name in data.names]
        expected = torch.stack([Teacher().encode_text(row) for row in sentences])
        torch.testing.assert_close(cache.text_table(data.ids), expected, rtol=0, atol=0)
    classes = torch.stack([Teacher().encode_text(prompts_for(text, TEMPLATES)) for text in first.class_texts])
    torch.testing.assert_close(cache.class_table(first.class_names), classes, rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["cache.h5"]


def test_cache_is_repeatable_and_independent_of_order(tmp_path):
    first, second = Shapes(["d1", "a1", "c1"]), Shapes(["b1", "a2"])
    one, two = make(tmp_path / "1.h5", [first, second]), make(tmp_path / "2.h5", [second, first])
    assert one.path.read_bytes() == two.path.read_bytes()
    fewer = make(tmp_path / "3.h5", [second], batch_size=1, num_views=2)
    near = {"rtol": 0, "atol": 2e-3}
    torch.testing.assert_close(fewer.image_table(second.ids), one.image_table(second.ids, num_views=2), **near)
    other = make(tmp_path / "4.h5", [first, second], seed=1)
    views, others = one.image_table(first.ids), other.image_table(first.ids)
    torch.testing.assert_close(views[:, 0], others[:, 0])
    assert not torch.allclose(views[:, 1:], others[:, 1:])


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5, 6, 8])
def test_an_interrupted_making_goes_on_to_the_same_bytes(tmp_path, calls):
    data = [Shapes(["d1", "a1", "c1"]), Shapes(["b1", "a2"])]
    whole = make(tmp_path / "whole.h5", data).path.read_bytes()
    all_calls = Teacher()
    make(tmp_path / "again.h5", data, all_calls)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cache.h5", data, Teacher(calls))
    assert not (tmp_path / "cache.h5").exists()
    rest = Teacher()
    assert make(tmp_path / "cache.h5", data, rest).path.read_bytes() == whole
    # Three pieces of pictures are 2, 2 and 1 calls, the first one of sentences is 10.
    finished = max(count for count in (0, 2, 4, 5, 15) if count <= calls)
    assert len(rest.batches) == len(all_calls.batches) - finished
    assert not list(tmp_path.glob(".*"))


def test_each_view_of_each_object_is_drawn_anew(tmp_path):
    """a1 and a2 have the same picture."""
    views = make(tmp_path / "cache.h5", [Shapes(["a1", "a2"])], num_views=4).image_table(["a1", "a2"])
    torch.testing.assert_close(views[0, 0], views[1, 0])
    drawn = views[:, 1:].flatten(0, 1)
    assert (torch.cdist(drawn, drawn) + torch.eye(len(drawn)) > 1e-3).all()


def test_batches_are_no_larger_than_asked_for(tmp_path):
    teacher = Teacher()
    make(tmp_path / "cache.h5", [Shapes(["a", "b", "c", "d"])], teacher, batch_size=3)
    assert max(teacher.batches) == 3


def test_pictures_of_different_shapes(tmp_path):
    data = Shapes(["a1", "b1"])
    wide = Shapes(["c1"])
    wide.__class__ = type(
        "Wide", (Shapes,), {"__getitem__": lambda self, i: {"id": "c1", "image": torch.ones(3, 9, 30)}}
    )
    table = make(tmp_path / "cache.h5", [data, wide], kinds=["image"]).image_table(["c1"])
    torch.testing.assert_close(table[0, 0], torch.ones(3))


def test_what_cannot_be_read_is_left_out(tmp_path):
    cache = make(tmp_path / "cache.h5", [Shapes(["a1", "b1", "c1", "d1"], broken=["b1"])])
    assert cache.missing("image", ["a1", "b1", "c1", "d1"]) == ["b1"] and not cache.missing("text", ["b1"])


def test_threads_read_the_same(tmp_path):
    data = [Shapes(["d1", "a1", "c1"])]
    make_cache(tmp_path / "1.h5", data, PictureWork(Teacher(), 2), None)
    make_cache(tmp_path / "2.h5", data, PictureWork(Teacher(), 2, num_threads=3), None)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_one_teacher_is_enough(tmp_path):
    assert set(make(tmp_path / "text.h5", [Shapes(["a"], with_images=False)], kinds=["text"]).info) == {"text"}


def test_a_file_of_other_things_is_replaced(tmp_path):
    data = [Shapes(["a1", "b1"])]
    path = make(tmp_path / "cache.h5", data).path
    assert is_made(path, {"image": {"transform.seed": "0", "transform.num_views": "3"}})
    assert not is_made(path, {"image": {"transform.seed": "1", "transform.num_views": "3"}})
    assert make(path, data, seed=1).info["image"]["transform.seed"] == "1"
    idle = Teacher()
    make(path, data, idle, seed=1)
    assert not idle.batches  # what is there already is not made again


def test_sentences_come_back_in_their_order():
    sentences = ["a long one", "b", "middle"]
    features = read_sentences(sentences, Teacher(), batch_size=2)
    assert features[:, 0].tolist() == [10, 1, 6] and features[:, 1].tolist() == [ord(text[0]) for text in sentences]


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


@pytest.mark.parametrize("value", [1e6, 1e-6])
def test_features_that_half_precision_cannot_hold_are_kept(tmp_path, value):
    teacher = Teacher()
    teacher.forward_image = lambda images: torch.full((len(images), 3), value)
    table = make(tmp_path / "cache.h5", [Shapes(["a"])], teacher).image_table(["a"])
    assert table.unique().item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_cannot_be_kept_are_refused(tmp_path, value):
    teacher = Teacher()
    teacher.forward_image = lambda images: torch.full((len(images), 3), value)
    with pytest.raises(InputError, match="feature of 'a' is not finite; check its input"):
        make(tmp_path / "cache.h5", [Shapes(["a"])], teacher)


@pytest.mark.slow
def test_shapenet_with_eight_views_takes_less_than_450_megabytes(tmp_path):
    """52,470 shapes of 55 categories, with 512 features as CLIP gives them."""
    from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features

    ids = [f"{row % 55:08d}-{row:032x}" for row in range(52_470)]
    names = [f"category number {row % 55}" for row in range(len(ids))]
    random = np.random.default_rng(0)
    blocks = (
        random.standard_normal((len(x), 8, 512), dtype=np.float32) for x in np.array_split(np.arange(len(ids)), 1640)
    )
    prompts = random.standard_normal((55, 60, 512), dtype=np.float32)
    text = TextFeatures(ids, names, prompts, TEMPLATES, sorted(set(names)), prompts, TEMPLATES)
    write_features(tmp_path / "cache.h5", ImageFeatures(ids, blocks), text)
    size = (tmp_path / "cache.h5").stat().st_size
    assert 430e6 < size < 450e6, f"{size / 1e6:.1f} MB"
    assert FeatureCache(tmp_path / "cache.h5").image_table(ids[:5], dtype=torch.float16).shape == (5, 8, 512)
