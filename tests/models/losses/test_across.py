"""Losses of samples that lie in two processes: value and gradient are those of a plain loop over all of them."""

from tests.processes import run_in_processes

WORKER = """
import torch
from pointrecon.models.losses.distillation import infonce_distillation
from pointrecon.models.across import pass_round
from pointrecon.utils.processes import connection, distributed
from tests.models.losses.test_multi_positive import CASES, T, loop_contrast

connection.init("cpu")
rank, size = distributed.rank(), distributed.world_size()
draw = torch.Generator().manual_seed(0)
student = torch.randn(4, 2, 5, generator=draw, dtype=torch.float64)
teacher = torch.randn(4, 3, 5, generator=draw, dtype=torch.float64)
# Of a process's two shapes both, and of the other's one, have targets.
mask = torch.tensor([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0]]).bool()
teacher[~mask] = torch.nan
own = slice(2 * rank, 2 * rank + 2)

def check(loss, loop, student, teacher, mask, **options):
    whole, part = student.clone().requires_grad_(), student[own].clone().requires_grad_()
    wanted = loop(whole, teacher, mask)
    (expected,) = torch.autograd.grad(wanted, whole)
    given = teacher[own].clone().requires_grad_()
    value = loss(student=part, teacher=given, mask=mask[own], **options)
    grad, grad_teacher = torch.autograd.grad(value, (part, given))
    # Processes average their gradients.
    torch.testing.assert_close(distributed.all_reduce_mean(value), wanted)
    torch.testing.assert_close(grad / size, expected[own])
    return grad_teacher / size

for name, (loss, loop) in CASES.items():
    grad = check(loss, loop, student, teacher, mask, temperature=T)
    whole = teacher.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loop(student, whole, mask), whole)
    torch.testing.assert_close(grad, expected[own].nan_to_num())
    # A learnt temperature: its gradient is the mean of the processes'.
    heat, heats = (torch.tensor(T, dtype=torch.float64, requires_grad=True) for _ in range(2))
    parts = dict(student=student[own], teacher=teacher[own], mask=mask[own])
    loss(**parts, temperature=heat).backward()
    import tests.models.losses.test_multi_positive as loops
    loops.T, before = heats, loops.T
    loop(student, teacher, mask).backward()
    loops.T = before
    torch.testing.assert_close(distributed.all_reduce_mean(heat.grad), heats.grad)
single = lambda s, t, m: loop_contrast(s.unsqueeze(1), t[:, :1], torch.ones(4, 1).bool(), False)
check(lambda mask, **x: infonce_distillation(**x), lambda s, t, m: single(s, t.unsqueeze(1), m),
      student[:, 0], torch.randn(4, 5, generator=draw, dtype=torch.float64), mask, temperature=T)
blocks = [(block.item(), is_own) for block, is_own in pass_round(torch.tensor(float(rank)))]
assert blocks == [(float(rank), True), (float(1 - rank), False)]
distributed.barrier()
connection.cleanup()
print("done", rank)
"""


def test_two_processes():
    for rank, output in enumerate(run_in_processes(WORKER)):
        assert f"done {rank}" in output
