"""Teachers that know nothing, in sources and in whole runs."""

import pytest
import torch

from pointrecon.tools.teachers.control import control_source
from pointrecon.tools.teachers.sources import CachedImages, CachedSamples, CachedText, CarriedFeatures
from pointrecon.utils.errors import InputError

ROWS = torch.arange(6)


def draw(source):
    return source.draw({}, ROWS, torch.Generator().manual_seed(0))


@pytest.fixture
def make():
    torch.manual_seed(0)
    images, texts = torch.randn(6, 3, 8) + 1, torch.randn(4, 2, 5) + 1
    names = torch.tensor([0, 1, 2, 3, 0, 1])
    return {
        "image": lambda center=False: CachedImages(images.clone(), center),
        "text": lambda center=False: CachedText(texts.clone(), names.clone(), center),
        "sample": lambda center=False: CachedSamples(images.clone(), center),
    }


@pytest.mark.parametrize("kind", ["image", "text", "sample"])
def test_shuffled_targets_are_those_of_others(make, kind):
    plain = make[kind]()
    shuffled = control_source(make[kind](), "shuffled", 7, kind)
    one, other = (source.table if kind != "text" else source.table[source.name_of] for source in (plain, shuffled))
    places = [[row for row in range(6) if torch.equal(one[row], x)] for x in other]
    assert sorted(draw(shuffled).flatten(1).shape) == sorted(draw(plain).flatten(1).shape)
    assert all(places) and sorted({min(found) for found in places}) == sorted({min(x) for x in
        [[row for row in range(6) if torch.equal(one[row], y)] for y in one]})  # fmt: skip
    assert sum(number not in found for number, found in enumerate(places)) >= 4
    assert not torch.equal(draw(plain), draw(shuffled))


def test_both_teachers_take_the_features_of_the_same_shape(make):
    image, text = (control_source(make[kind](), "shuffled", 7, kind) for kind in ("image", "text"))
    plain = make["image"]().table
    rows = [next(row for row in range(6) if torch.equal(plain[row], x)) for x in image.table]
    assert torch.equal(text.name_of, torch.tensor([0, 1, 2, 3, 0, 1])[rows])


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("kind", ["image", "text", "sample"])
def test_random_targets_are_as_long_and_stay(make, kind, center):
    plain, random = make[kind](center), control_source(make[kind](center), "random", 7, kind)
    one, other = draw(plain), draw(random)
    assert random.mean is None and one.shape[-1] == other.shape[-1]
    if kind == "text":  # the mean over a name's prompts
        table = plain.table - (0 if plain.mean is None else plain.mean)
        torch.testing.assert_close(other.norm(dim=-1), table.norm(dim=-1).mean(dim=1)[plain.name_of])
        assert not torch.allclose(other[0], other[4])  # one name, two shapes
    else:
        torch.testing.assert_close(other.norm(dim=-1), one.norm(dim=-1))
    again = random.draw({}, ROWS, torch.Generator().manual_seed(5))
    cosine = torch.cosine_similarity(other.reshape(-1, other.shape[-1]), again.reshape(-1, again.shape[-1]))
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_targets_that_are_not_there_stay_away(make):
    source = make["sample"](True)
    source.table[2, 1] = 0
    assert not draw(control_source(source, "random", 0, "depth"))[2, 1].any()


def test_only_caches(make):
    source = CarriedFeatures(
        "image_features", {"count": 1, "dim": 4, "mean": [0.0] * 4}, None, False, torch.device("cpu")
    )
    with pytest.raises(InputError, match=r"teachers\.image\.control is shuffled, but its features are not read from"):
        control_source(source, "shuffled", 0, "image")
    assert control_source(source, "none", 0, "image") is source


@pytest.mark.parametrize("control", ["shuffled", "random"])
def test_a_run_of_two_steps(launch, control):
    code, folder = launch("epochs=1", f"teachers.image.control={control}", f"teachers.text.control={control}")
    assert code == 0
    content = torch.load(folder / "ckpt-last.pth", weights_only=True)
    assert content["config"]["teachers"]["image"]["control"] == control
    assert {"image_proj.weight", "text_proj.weight"} <= set(content["base_model"])


def test_an_unknown_control(launch, capsys):
    code, _ = launch("teachers.image.control=shufled")
    assert code == 2 and "shuffled" in capsys.readouterr().err
