"""Losses against loops over the batch."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.losses import DISTILLATIONS
from pointrecon.models.losses.contrast import class_contrastive_loss
from pointrecon.models.losses.distillation import (
    Distillation,
    cosine_distillation,
    infonce_distillation,
    matched_distillation,
    smooth_l1_distillation,
)
from pointrecon.utils.errors import InputError


def unit(vector):
    return vector / vector.norm()


def test_smooth_l1_is_the_mean_over_all_elements():
    student, teacher = torch.tensor([[0.0, 0.5], [3.0, -4.0]]), torch.zeros(2, 2)
    # Below 1 half the square, from there on the distance less a half.
    wanted = (0 + 0.125 + 2.5 + 3.5) / 4
    assert smooth_l1_distillation(student=student, teacher=teacher).item() == pytest.approx(wanted)


def test_cosine_is_one_less_the_similarity():
    student, teacher = torch.randn(5, 4), torch.randn(5, 4)
    wanted = sum(1 - unit(s) @ unit(t) for s, t in zip(student, teacher, strict=True)) / 5
    torch.testing.assert_close(cosine_distillation(student=student, teacher=teacher), wanted)
    assert cosine_distillation(student=student, teacher=3 * student).item() == pytest.approx(0, abs=1e-6)


class TestInfoNce:
    @staticmethod
    def naive(student, teacher, temperature, is_equal):
        size, total = len(student), 0.0
        for rows, columns in ((student, teacher), (teacher, student)):
            for i in range(size):
                scores = [math.exp(float(unit(rows[i]) @ unit(columns[j])) / temperature) for j in range(size)]
                targets = [j for j in range(size) if is_equal(i, j)]
                total -= sum(math.log(scores[j] / sum(scores)) for j in targets) / len(targets)
        return total / (2 * size)

    def test_is_the_naive_one(self):
        student, teacher = torch.randn(5, 4), torch.randn(5, 4)
        wanted = self.naive(student, teacher, 0.3, lambda i, j: i == j)
        actual = infonce_distillation(student=student, teacher=teacher, temperature=0.3)
        assert actual.item() == pytest.approx(wanted, rel=1e-5)

    def test_equal_teachers_are_as_good_as_a_shared_target(self):
        student, teacher = torch.randn(5, 4), torch.randn(3, 4)[[0, 1, 0, 2, 0]]
        names = [0, 1, 0, 2, 0]
        wanted = self.naive(student, teacher, 0.3, lambda i, j: names[i] == names[j])
        actual = infonce_distillation(student=student, teacher=teacher, temperature=0.3)
        assert actual.item() == pytest.approx(wanted, rel=1e-5)

    def test_equal_teachers_do_not_push_their_students_apart(self):
        student = torch.randn(1, 4).repeat(3, 1).requires_grad_()
        infonce_distillation(student=student, teacher=torch.ones(3, 4), temperature=0.1).backward()
        torch.testing.assert_close(student.grad, torch.zeros(3, 4), atol=1e-6, rtol=0)

    def test_is_lowest_at_the_teacher(self):
        teacher = torch.randn(6, 8)
        at_teacher = infonce_distillation(student=2 * teacher, teacher=teacher, temperature=0.1)
        for _ in range(5):
            student = torch.randn(6, 8)
            assert at_teacher < infonce_distillation(student=student, teacher=teacher, temperature=0.1)

    def test_a_teacher_of_length_zero_gives_no_nan(self):
        student, teacher = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
        teacher[1] = 0
        loss = infonce_distillation(student=student, teacher=teacher, temperature=0.1)
        loss.backward()
        assert loss.isfinite() and student.grad.isfinite().all()


NAMES = ("smooth_l1", "cosine", "infonce")


class TestSeveral:
    """Several queries of a name, several targets of a sample, some of them missing."""

    @staticmethod
    def loss(name, **tensors):
        extras = {"temperature": 0.3} if name == "infonce" else {}
        return DISTILLATIONS.get(name)(**tensors, **extras)

    @pytest.mark.parametrize("name", NAMES)
    def test_pairs_are_taken_by_their_number(self, name):
        student, teacher = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
        each = [self.loss(name, student=student[:, i], teacher=teacher[:, i]) for i in range(3)]
        torch.testing.assert_close(self.loss(name, student=student, teacher=teacher), torch.stack(each).mean())

    @pytest.mark.parametrize("name", NAMES)
    def test_one_of_either_stands_for_all(self, name):
        one, many = torch.randn(5, 4), torch.randn(5, 3, 4)
        each = [self.loss(name, student=many[:, i], teacher=one) for i in range(3)]
        torch.testing.assert_close(self.loss(name, student=many, teacher=one), torch.stack(each).mean())
        each = [self.loss(name, student=one, teacher=many[:, i]) for i in range(3)]
        torch.testing.assert_close(self.loss(name, student=one, teacher=many), torch.stack(each).mean())

    @pytest.mark.parametrize("name", (*NAMES, "matched"))
    def test_missing_targets_count_nothing_whatever_is_in_them(self, name):
        student, teacher = torch.randn(5, 3, 4, requires_grad=True), torch.randn(5, 3, 4)
        mask = torch.ones(5, 3, dtype=torch.bool)
        mask[1, 2] = mask[3, :] = False
        loss = self.loss(name, student=student, teacher=teacher, mask=mask)
        (gradient,) = torch.autograd.grad(loss, student)
        assert not gradient[3].any() and gradient[0].any()
        spoilt = teacher.masked_fill(~mask.unsqueeze(-1), float("nan"))
        again = self.loss(name, student=student, teacher=spoilt, mask=mask)
        assert torch.equal(loss, again) and torch.equal(torch.autograd.grad(again, student)[0], gradient)

    @pytest.mark.parametrize("name", (*NAMES, "matched"))
    def test_a_batch_without_any_target_costs_nothing(self, name):
        student = torch.randn(2, 3, 4, requires_grad=True)
        loss = self.loss(name, student=student, teacher=torch.randn(2, 3, 4), mask=torch.zeros(2, 3, dtype=torch.bool))
        loss.backward()
        assert loss == 0 and not student.grad.any()

    def test_other_numbers_need_a_matching(self):
        with pytest.raises(InputError, match="3 queries for 2 targets .* matched"):
            smooth_l1_distillation(student=torch.zeros(1, 3, 4), teacher=torch.zeros(1, 2, 4))

    def test_matching_is_the_best_of_all_pairings(self):
        student, teacher = torch.randn(6, 4, 5), torch.randn(6, 3, 5)
        total = 0.0
        for s, t in zip(student, teacher, strict=True):
            pairings = list(itertools.permutations(range(4), 3))
            best = max(pairings, key=lambda rows: sum(float(s[row] @ t[column]) for column, row in enumerate(rows)))
            total += F.smooth_l1_loss(s[list(best)], t)
        torch.testing.assert_close(matched_distillation(student=student, teacher=teacher), total / 6)


def test_a_loss_takes_what_it_needs():
    def needs_little(*, student):
        return student.sum()

    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    assert Distillation(4, needs_little, weight=2.0)(student, teacher) == 2 * student.sum()
    with pytest.raises(InputError, match="takes no mask"):
        Distillation(4, needs_little)(student, teacher.unsqueeze(1), torch.ones(3, 1, dtype=torch.bool))
    heated = Distillation(4, infonce_distillation, temperature=0.3)(student, teacher)
    assert heated == infonce_distillation(student=student, teacher=teacher, temperature=0.3)


class TestClassContrastive:
    @staticmethod
    def naive(embedding, labels, temperature):
        total = 0.0
        for i in range(len(embedding)):
            similarity = [float(unit(embedding[i]) @ unit(other)) for other in embedding]
            same = [s for s, label in zip(similarity, labels, strict=True) if label == labels[i]]
            others = [s for s, label in zip(similarity, labels, strict=True) if label != labels[i]]
            positive = math.exp(sum(same) / len(same) / temperature)
            total -= math.log(positive / (positive + sum(math.exp(s / temperature) for s in others)))
        return total / len(embedding)

    @pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 1, 0, 1], [5, 5, 5, 2]])
    @pytest.mark.parametrize("temperature", [0.1, 1.0])
    def test_is_the_naive_one(self, labels, temperature):
        embedding = 3 * torch.randn(4, 6)
        wanted = self.naive(embedding, labels, temperature)
        actual = class_contrastive_loss(embedding, torch.tensor(labels), temperature=temperature)
        assert actual.item() == pytest.approx(wanted, rel=1e-4, abs=1e-6)

    def test_published_temperature_is_the_default(self):
        embedding, labels = torch.randn(4, 6), torch.tensor([0, 0, 1, 2])
        assert class_contrastive_loss(embedding, labels) == class_contrastive_loss(embedding, labels, temperature=0.1)

    def test_one_class_alone_costs_nothing(self):
        embedding = torch.randn(4, 6, requires_grad=True)
        loss = class_contrastive_loss(embedding, torch.zeros(4, dtype=torch.int64))
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert embedding.grad.isfinite().all()
