"""Assignment problems of one size, solved side by side in plain torch.

Shape legend: B problems, Q rows, R columns, S = max(Q, R).
"""

import torch
from torch import Tensor

LARGEST = 2.0**900  # scores up to this have sums that are numbers in double precision


def assign(scores: Tensor, present: Tensor) -> Tensor:
    """(B, Q, R), (B, R) bool -> (B, Q) int64; see `ops.assign`."""
    return read_columns(solve(square_costs(scores, present))[:, : scores.shape[1]], present)


def square_costs(scores: Tensor, present: Tensor) -> Tensor:
    """The same problems as square ones to be minimised: (B, Q, R), (B, R) -> (B, S, S) float64.

    A row that is added costs nothing. A row that is paired with a column that is added, or not present, costs more than
    all other pairs could save, so that there are as few of these as can be. So does an infinite score against finite
    ones, by no more than that: double precision has to hold both. NaN counts as 0.
    """
    batch, rows, columns = scores.shape
    size = max(rows, columns)
    scores = scores.detach().to(torch.float64)
    costs = scores.new_zeros(batch, size, size)
    if scores.numel() == 0:
        return costs
    scores, is_there = scores.masked_fill(scores.isnan(), 0.0), present.unsqueeze(1)
    is_infinite = scores.abs() == torch.inf
    is_number = ~is_infinite & is_there
    most = scores.abs().masked_fill(~is_number, 0.0).amax(dim=(1, 2), keepdim=True)
    scores = torch.where(most > LARGEST, scores / LARGEST, scores)
    top = scores.masked_fill(~is_number, -torch.inf).amax(dim=(1, 2), keepdim=True)
    low = scores.masked_fill(~is_number, torch.inf).amin(dim=(1, 2), keepdim=True)
    span = torch.where(top > low, top - low, 1.0)
    has_infinite = (is_infinite & is_there).any(dim=2, keepdim=True).any(dim=1, keepdim=True)
    beyond = torch.where(has_infinite, span * (size + 1), 0.0)
    worst = span + 2 * beyond
    absent = worst * (size + 1)
    infinite = torch.where(scores > 0, 0.0, worst)
    costs[:, :rows] = absent
    costs[:, :rows, :columns] = torch.where(is_there, torch.where(is_infinite, infinite, top - scores + beyond), absent)
    return costs


def read_columns(chosen: Tensor, present: Tensor) -> Tensor:
    """Columns of square problems (B, Q) -> (B, Q) int64, -1 for those that are not there."""
    columns = present.shape[1]
    if columns == 0:
        return torch.full_like(chosen, -1)
    is_there = (chosen < columns) & present.gather(1, chosen.clamp(max=columns - 1))
    return chosen.where(is_there, -1)


def solve(costs: Tensor) -> Tensor:
    """Shortest augmenting paths (Kuhn, 1955; Jonker and Volgenant, 1987), a row at a time in all problems.

    The number of steps depends on the size alone, so that a device is never waited for.

    Args:
        costs: (B, S, S).

    Returns:
        (B, S) int64, the column of each row; the sum of their costs is the smallest there is.
    """
    batch, size, _ = costs.shape
    # Row 0 and column 0 are the ends of paths; u and v are the prices, so that no cost minus its prices is negative.
    costs = torch.nn.functional.pad(costs, (1, 0, 1, 0))
    u, v = costs.new_zeros(batch, size + 1), costs.new_zeros(batch, size + 1)
    numbers = torch.arange(size + 1, device=costs.device).unsqueeze(0)
    owner = (numbers * 0).expand(batch, -1)
    for row in range(1, size + 1):
        owner = torch.where(numbers == 0, row, owner)
        column, back = owner[:, :1] * 0, owner * 0
        slack = costs.new_full((batch, size + 1), torch.inf)
        is_seen = owner < 0
        for _ in range(row):
            current = owner.gather(1, column)
            is_open = current != 0
            if _may_look(costs) and not is_open.any():
                break
            is_seen = is_seen | ((numbers == column) & is_open)
            cost = costs.gather(1, current.unsqueeze(-1).expand(-1, -1, size + 1))[:, 0]
            reduced = cost - u.gather(1, current) - v
            is_less = (reduced < slack) & ~is_seen & is_open & (numbers > 0)
            slack = torch.where(is_less, reduced, slack)
            back = torch.where(is_less, column, back)
            delta, nearest = slack.masked_fill(is_seen | (numbers == 0), torch.inf).min(dim=1, keepdim=True)
            step = torch.where(is_open, delta, 0.0)
            raised = torch.where(is_seen, step, 0.0)
            u = u.scatter_add(1, owner, raised)
            v = v - raised
            slack = torch.where(is_seen, slack, slack - step)
            column = torch.where(is_open, nearest, column)
        for _ in range(row):
            before = back.gather(1, column)
            owner = torch.where((numbers == column) & (column != 0), owner.gather(1, before), owner)
            column = torch.where(column != 0, before, column)
    return owner[:, 1:].argsort(dim=1)


def _may_look(costs: Tensor) -> bool:
    """Whether looking at a result waits for no device, and nobody records what is done."""
    return costs.device.type == "cpu" and not torch.jit.is_tracing()
