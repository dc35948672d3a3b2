"""What holds for all drop-in packages; test_wheel.py runs this where the wheel is installed."""

import importlib

import chamfer
import pytest
import torch
from chamfer_dist import ChamferDistanceL1, ChamferDistanceL2, ChamferFunction
from knn_cuda import KNN
from pointnet2_ops.pointnet2_utils import QueryAndGroup, ball_query, furthest_point_sample, three_nn

CLOUD = torch.zeros(2, 5, 3)
# What programs import of the originals.
NAMES = {
    "pointnet2_ops": "__version__ _ext pointnet2_modules pointnet2_utils",
    "pointnet2_ops._ext": "ball_query furthest_point_sampling gather_points gather_points_grad group_points "
    "group_points_grad three_interpolate three_interpolate_grad three_nn",
    "pointnet2_ops.pointnet2_utils": "furthest_point_sample gather_operation grouping_operation ball_query three_nn "
    "three_interpolate QueryAndGroup GroupAll FurthestPointSampling GatherOperation GroupingOperation ThreeNN "
    "ThreeInterpolate BallQuery",
    "pointnet2_ops.pointnet2_modules": "PointnetSAModule PointnetSAModuleMSG PointnetFPModule build_shared_mlp "
    "_PointnetSAModuleBase",
    "knn_cuda": "__version__ KNN knn",
    "chamfer_dist": "ChamferDistance ChamferDistanceL1 ChamferDistanceL1_PM ChamferDistanceL2 ChamferDistanceL2_split "
    "ChamferFunction",
    "chamfer": "forward backward",
}


@pytest.mark.parametrize("module", NAMES)
def test_the_names_of_the_originals_are_there(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_a_diverged_network_has_a_loss_that_is_not_finite():
    assert not ChamferDistanceL1()((CLOUD + float("nan")).requires_grad_(), CLOUD).isfinite()


@pytest.mark.parametrize(
    "call",
    [
        lambda cloud: furthest_point_sample(cloud, 2),
        lambda cloud: three_nn(CLOUD, cloud),
        lambda cloud: ball_query(1.0, 2, CLOUD, cloud),
        lambda cloud: KNN(2)(cloud, cloud),
        lambda cloud: KNN(2, transpose_mode=True)(CLOUD, cloud),
        lambda cloud: ChamferDistanceL1()(CLOUD, cloud),
        lambda cloud: ChamferFunction.apply(cloud, CLOUD),
        lambda cloud: chamfer.forward(cloud, CLOUD),
    ],
)
def test_each_drop_in_refuses_nan_and_infinity_in_its_own_words(call):
    for value in (float("nan"), float("inf")):
        cloud = CLOUD.clone()
        cloud[1, 4, 2] = value
        with pytest.raises(ValueError, match=r"(xyz|known|new_xyz|ref|query|xyz1|xyz2) \(2, 5, 3\) must be finite"):
            call(cloud)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_the_drop_ins_give_what_they_give_on_the_cpu():
    clouds = torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(0))
    features = torch.randn(3, 6, 200, generator=torch.Generator().manual_seed(1))

    def compute(clouds, features):
        centers = clouds[:, :20].contiguous()
        wide = KNN(4)(features, features[..., :9])  # six coordinates
        yield furthest_point_sample(clouds, 30)
        yield from (*KNN(8, transpose_mode=True)(clouds, centers), *three_nn(clouds, centers), *wide)
        yield QueryAndGroup(0.7, 16)(clouds, centers, features)
        yield ChamferDistanceL1()(clouds[:, :50], centers)
        yield ChamferDistanceL2()(clouds[:, :50], centers)

    for ours, wanted in zip(compute(clouds.cuda(), features.cuda()), compute(clouds, features), strict=True):
        torch.testing.assert_close(ours.cpu(), wanted)
