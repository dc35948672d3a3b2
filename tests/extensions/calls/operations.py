"""A call of every operation, for what wraps calls."""

import torch

from pointrecon.extensions import ops


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CLOUD, OTHER = draw(2, 40, 3), draw(2, 9, 3, seed=1)
INDEX = torch.randint(40, (2, 5, 3), generator=torch.Generator().manual_seed(0))
# Name -> function of tensors, the tensors.
OPERATIONS = {
    "assign": (lambda x: ops.assign(x), (draw(2, 4, 5),)),
    "fps": (lambda x: ops.fps(x, 7), (CLOUD,)),
    "knn": (lambda x, y: ops.knn(x, y, 5), (CLOUD, OTHER)),
    "patchify": (lambda x: ops.patchify(x, 4, 5), (CLOUD,)),
    "gather": (lambda x: ops.gather(x, INDEX.to(x.device)[..., 0]), (CLOUD,)),
    "group": (lambda x: ops.group(x, INDEX.to(x.device)), (CLOUD,)),
    "three_nn": (lambda x, y: ops.three_nn(x, y), (OTHER, CLOUD)),
    "three_interpolate": (lambda x, w: ops.three_interpolate(x, INDEX.to(x.device), w), (CLOUD, draw(2, 5, 3, seed=2))),
    "chamfer_1": (lambda x, y: ops.chamfer_distance(x, y, 1), (CLOUD, OTHER)),
    "chamfer_2": (lambda x, y: ops.chamfer_distance(x, y, 2), (CLOUD, OTHER)),
    "linear_max": (lambda x, w: ops.linear_max(x, w, relu=True), (draw(6, 5, 16), draw(7, 16, seed=1))),
    "attention": (lambda x: ops.attention(x), (draw(2, 6, 3, 2, 16),)),
    "cross_attention": (lambda q, x: ops.cross_attention(q, x), (draw(2, 4, 2, 16), draw(2, 6, 2, 2, 16, seed=1))),
}
