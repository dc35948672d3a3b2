"""How fast a config trains: what is counted, and that the steps are those of the runner."""

import pytest
import torch
from bench_parts.timing import gemm_gflops
from bench_train import bench, make_case

from pointrecon.utils.errors import InputError

SMALL = ["model.embed_dim=24", "model.depth=2", "model.num_heads=2", "model.decoder_num_heads=2"]
SMALL += ["model.patch_width=16", "model.num_groups=16", "model.group_size=8", "data.num_points=64", "device=cpu"]
CONFIG = "cfgs/pretrain/base.yaml"


@pytest.fixture(scope="module")
def result():
    return bench(CONFIG, overrides=SMALL, against=["model.depth=6"], batch_size=4, num_rounds=3, num_steps=1)


def test_the_figures_belong_together(result):
    assert result["shapes_per_second"] == pytest.approx(4 / result["seconds_per_step"])
    assert result["model_gflops"] == pytest.approx(result["gflop_per_shape"] * result["shapes_per_second"])
    assert result["share_of_gemm"] == pytest.approx(result["model_gflops"] / result["gemm_gflops"])
    assert result["peak_memory_mb"] > 100 and result["loader_over_step"] > 1
    assert len(result["largest_costs"]) == 3 and result["environment"]["device"] == "cpu"
    assert {"encoder blocks", "decoder", "optimizer", "backward and loop"} < set(result["milliseconds_by_part"])


def test_more_work_is_slower(result):
    assert result["against"]["ratio"] > 1 and len(result["against"]["ratio_of_rounds"]) == 3


def test_the_arithmetic_of_a_shape_is_counted_by_hand():
    overrides = [*SMALL, "teachers.image=null", "teachers.text=null", "model.drop_path=0"]
    counted = bench(CONFIG, overrides=overrides, batch_size=2, num_rounds=1, num_steps=1)["gflop_per_shape"]
    forward = 2 * count_products(dim=24, width=16, visible=7, masked=9, group_size=8, depth=2, decoder_depth=4)
    # Each product twice backward, but for what has no gradient: the coordinates, and the tokens that queries read.
    assert 2.5 * forward < counted * 1e9 < 3 * forward


def count_products(dim, width, visible, masked, group_size, depth, decoder_depth):
    """Multiplications of the linear layers and of attention in a forward pass."""
    points, tokens = visible * group_size, visible + masked
    embedding = points * (3 * width // 4 + width // 4 * width // 2 + width // 4 * width + width * dim)
    block = 12 * dim * dim
    local = visible * block + 2 * visible * visible * dim
    queries = 3 * 10 * dim * dim + 2 * visible * dim * dim + 2 * 3 * visible * dim
    whole = (decoder_depth - 1) * (tokens * block + 2 * tokens * tokens * dim)
    last = masked * 10 * dim * dim + 2 * tokens * dim * dim + 2 * masked * tokens * dim
    positions = (visible + tokens) * (3 * 128 + 128 * dim)
    return embedding + depth * (local + queries) + whole + last + positions + masked * dim * 3 * group_size


def test_a_given_count_is_taken():
    result = bench(CONFIG, overrides=SMALL, batch_size=2, num_rounds=1, num_steps=1, gflop_per_shape=8.1)
    assert result["gflop_per_shape"] == 8.1 and "against" not in result


def test_steps_move_the_weights(tmp_path):
    case = make_case(CONFIG, [*SMALL, "batch_size=4"], tmp_path, is_own_data=False)
    before = case.runner.task.model.encoder.blocks[0].mlp.fc1.weight.clone()
    case.step()
    assert case.runner.state.step == 1 and case.shapes_a_step == 4
    assert not torch.equal(case.runner.task.model.encoder.blocks[0].mlp.fc1.weight, before)
    case.runner.ctx.metrics.close()


def test_the_rate_of_products_is_positive():
    assert gemm_gflops(torch.device("cpu"), "fp32") > 0.1


def test_a_wrong_override_is_told():
    with pytest.raises(InputError, match="model.dept"):
        bench(CONFIG, overrides=["model.dept=2"])


def test_a_data_set_with_options_of_its_own_is_stood_in_for(tmp_path):
    small = [change for change in SMALL if not change.startswith("data.")]
    case = make_case("cfgs/full/finetune_scan_hardest.yaml", [*small, "batch_size=2"], tmp_path, is_own_data=False)
    case.step()
    assert case.runner.task.network is not None and case.runner.state.step == 1
    case.runner.ctx.metrics.close()
