"""Cached and live teachers give the same targets from the same generator; centring takes away the mean."""

import numpy as np
import pytest
import torch

from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.models.teachers.base import FrozenTeacher
from pointrecon.tools.teachers.make_cache import make_cache
from pointrecon.tools.teachers.sources import (
    MEAN_OVER,
    CachedImages,
    CachedText,
    CarriedFeatures,
    LiveImages,
    LiveText,
    is_target,
)
from pointrecon.tools.teachers.work import PictureWork, TextWork
from pointrecon.utils.seed import generator

NUM_OBJECTS = 12


class Shapes(torch.utils.data.Dataset):
    class_names = class_texts = ["seat", "lamp"]
    ids = [f"object{row}" for row in range(NUM_OBJECTS)]
    names = [f"Thing {row % 5}" for row in range(NUM_OBJECTS)]

    def __len__(self):
        return NUM_OBJECTS

    def __getitem__(self, index):
        image = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(index))
        return {"id": self.ids[index], "text": self.names[index], "image": image}


class Teacher(FrozenTeacher):
    """Sees with a layer of random weights; reads by the numbers of the letters."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(torch.nn.Conv2d(3, 24, 16), 24, 16, (0.4, 0.5, 0.6), (0.2, 0.3, 0.2))

    def forward_image(self, images):
        return self.network(images).flatten(1)

    def forward_text(self, texts):
        return torch.stack([torch.sin(torch.arange(24) * sum(map(ord, text)) / 7) for text in texts])


def silent(items, what):
    return items


def batch(rows):
    samples = [Shapes()[int(row)] for row in rows]
    images = torch.stack([sample["image"] for sample in samples])
    return {"id": [x["id"] for x in samples], "text": [x["text"] for x in samples], "image": images}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "cache.h5"
    make_cache(path, [Shapes()], PictureWork(Teacher(), 4), TextWork(Teacher()))
    return FeatureCache(path)


def live_images(num_views=None, is_centered=False):
    return LiveImages(Teacher(), Shapes(), num_views, 0, is_centered, silent)


ROWS = torch.tensor([3, 0, 7, 7, 11, 5, 2, 9])


@pytest.mark.parametrize("num_views", [1, 3, 4])
def test_live_images_are_the_cached_ones(cache, num_views):
    table = cache.image_table(Shapes.ids, num_views, cache.image_dtype)
    cached, live = CachedImages(table, False), live_images(num_views)
    assert cached.dim == live.dim == 24
    for seed in range(3):
        one = cached.draw(batch(ROWS), ROWS, generator("cpu", seed))
        two = live.draw(batch(ROWS), ROWS, generator("cpu", seed))
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)  # float16 has 11 bits


def test_live_text_is_the_cached_one(cache):
    table, rows = cache.name_table(Shapes.ids)
    for num_prompts in (None, 7):
        cached = CachedText(table[:, :num_prompts], rows, False)
        live = LiveText(Teacher(), Shapes.names, num_prompts, False, silent)
        for seed in range(3):
            one = cached.draw(batch(ROWS), ROWS, generator("cpu", seed))
            two = live.draw(batch(ROWS), ROWS, generator("cpu", seed))
            torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_live_views_without_a_number_never_come_again():
    rows, random, live = torch.zeros(5, dtype=torch.long), generator("cpu", 0), live_images()
    drawn = torch.cat([live.draw(batch(rows), rows, random) for _ in range(4)])
    assert (torch.cdist(drawn, drawn) + torch.eye(20) > 1e-3).all()
    again = live.draw(batch(rows), rows, generator("cpu", 0))
    torch.testing.assert_close(again, drawn[:5])  # the generator alone decides


def test_each_view_and_prompt_is_drawn():
    views = torch.arange(4.0).view(1, 4, 1).expand(2, -1, -1)
    rows = torch.zeros(200, dtype=torch.long)
    counts = CachedImages(views, False).draw({}, rows, generator("cpu", 0))[:, 0].long().bincount()
    assert len(counts) == 4 and counts.min() > 30


def test_centred_cached_features_have_no_mean(cache):
    table = cache.image_table(Shapes.ids)
    source = CachedImages(table, True)
    torch.testing.assert_close(source.mean, table.mean(dim=(0, 1)))
    texts, rows = cache.name_table(Shapes.ids)
    weighted = CachedText(texts, rows, True).mean
    torch.testing.assert_close(weighted, texts[rows].mean(dim=(0, 1)), rtol=1e-4, atol=1e-6)


def test_live_means_are_over_plain_pictures_and_all_templates_in_turn():
    plain = Teacher().encode_image(batch(range(NUM_OBJECTS))["image"])
    torch.testing.assert_close(live_images(is_centered=True).mean, plain.mean(dim=0))
    source = LiveText(Teacher(), Shapes.names, 2, True, silent)
    sentences = [source.templates[row % 2].format(name.lower()) for row, name in enumerate(Shapes.names)]
    torch.testing.assert_close(source.mean, Teacher().encode_text(sentences).mean(dim=0))
    drawn = source.draw(batch(ROWS), ROWS, generator("cpu", 0))
    assert not torch.allclose(
        drawn, LiveText(Teacher(), Shapes.names, 2, False, silent).draw(batch(ROWS), ROWS, generator("cpu", 0))
    )


def test_a_mean_looks_at_a_part_of_a_large_data_set(monkeypatch):
    monkeypatch.setattr("pointrecon.tools.teachers.sources.MEAN_OVER", 4)
    seen = []
    LiveText(Teacher(), [str(row) for row in range(10)], 1, True, lambda items, what: seen.extend(items) or items)
    assert [text for part in seen for text in part] == ["0.", "3.", "6.", "9."] and MEAN_OVER >= 1000


def test_templates_are_those_of_a_cache_in_its_order(cache):
    assert LiveText(Teacher(), Shapes.names, None, False, silent).templates == cache.templates()
    assert sorted(cache.templates()) == sorted(TEMPLATES) and np.unique(cache.templates()).size == 60


class TestSeveralOfASample:
    """`draws`: different views or prompts of each sample at a step."""

    @pytest.mark.parametrize("draws", [2, 9])
    def test_views_differ_and_there_are_no_more_than_all(self, draws):
        table = torch.arange(12.0).view(4, 3, 1)  # view 3 n + v of sample n
        source = CachedImages(table, False, draws)
        rows = torch.tensor([2, 0])
        drawn = source.draw({}, rows, torch.Generator().manual_seed(0))
        assert drawn.shape == (2, min(draws, 3), 1)
        for row, values in zip(rows.tolist(), drawn[..., 0].tolist(), strict=True):
            assert len(set(values)) == len(values) and set(values) <= {3 * row, 3 * row + 1, 3 * row + 2}

    def test_prompts_are_those_of_the_samples_name(self):
        table = torch.arange(6.0).view(2, 3, 1)
        source = CachedText(table, torch.tensor([1, 0, 1]), False, 2)
        drawn = source.draw({}, torch.tensor([0, 1]), torch.Generator().manual_seed(0))[..., 0]
        assert set(drawn[0].tolist()) <= {3, 4, 5} and set(drawn[1].tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("is_centered", [False, True])
@pytest.mark.parametrize("draws", [1, 2, 3, 9])
def test_what_a_sample_lacks_is_never_drawn_before_what_it_has(draws, is_centered):
    known = {"count": 5, "dim": 4, "mean": [0.5] * 4, "is_padded": True}
    source = CarriedFeatures("views", known, None, is_centered, torch.device("cpu"), draws)
    features = torch.randn(3, 5, 4, generator=generator("cpu", 0)).half()
    features[0, [0, 2]], features[1] = 0, 0
    seen = set()
    for seed in range(30):
        drawn = source.draw({"views": features}, torch.arange(3), generator("cpu", seed))
        assert drawn.shape == (3, min(draws, 5), 4) and drawn.dtype == torch.float32
        assert is_target(drawn).sum(dim=1).tolist() == [min(draws, 3), 0, min(draws, 5)]
        for row in drawn[0][is_target(drawn[0])] + 0.5 * is_centered:
            (place,) = (features[0].float() - row).abs().amax(dim=1).lt(1e-6).nonzero().flatten().tolist()
            seen.add(place)
    assert seen == {1, 3, 4}
