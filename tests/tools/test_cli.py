"""Flags -> overrides."""

import pytest

from pointrecon.tools import cli
from pointrecon.utils.config import SCHEMA_FOLDER, load_config, load_schema
from pointrecon.utils.errors import InputError


def overrides(*argv):
    return cli.to_overrides(cli.parse(["--config", "x.yaml", *argv]))


@pytest.mark.parametrize(
    "argv, expected",
    [
        ([], []),
        (["--ckpts", "a b: c.pth"], ['init="a b: c.pth"']),
        (["--start_ckpts", "x.pth"], ['init="x.pth"']),
        (["--scratch_model"], ["init=null", "start=random"]),
        (["--finetune_model"], []),
        (["--resume"], ["resume=true"]),
        (["--test"], ["epochs=0"]),
        (["--svm"], ["epochs=0"]),
        (["--zeroshot"], ["epochs=0"]),
        (["--vote"], ["num_votes=10"]),
        (["--way", "5", "--shot", "10", "--fold", "0"], ["data.way=5", "data.shots=10", "data.fold=0"]),
        (["--seed", "0"], ["seed=0"]),
        (["--deterministic"], ["deterministic=true"]),
        (["--sync_bn"], ["sync_bn=true"]),
        (["--num_workers", "4"], ["num_workers=4"]),
        (["--val_freq", "2"], ["eval_every=2"]),
        (["--launcher", "none"], []),
        (["--local_rank", "1"], []),
        (["--local-rank=1"], []),
        (["epochs=3"], ["epochs=3"]),
        (["a=1", "--seed", "3", "b=2", "--vote", "c=-1"], ["num_votes=10", "seed=3", "a=1", "b=2", "c=-1"]),
    ],
)
def test_translation(argv, expected):
    assert overrides(*argv) == expected


def test_every_translation_is_a_key_of_the_schema():
    flags = "--ckpts p --resume --test --vote --way 1 --shot 1 --fold 1 --seed 1 --deterministic --sync_bn"
    flags += " --num_workers 1 --val_freq 1"
    cfg = load_config(SCHEMA_FOLDER / "run.yaml", overrides(*flags.split()))
    assert (cfg.init, cfg.resume, cfg.epochs, cfg.num_votes, cfg.data.shots) == ("p", True, 0, 10, 1)


def test_names_of_the_run():
    args = cli.parse(["--config", "x.yaml", "--exp_name", "first", "--overwrite"])
    assert (args.config, args.exp_name, args.overwrite) == ("x.yaml", "first", True)
    assert cli.parse(["--config", "x.yaml"]).exp_name == "default"


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--ckpt", "x"], "unknown flag '--ckpt'; did you mean '--ckpts'"),
        (["--detrministic"], "did you mean '--deterministic'"),
        (["--vot=3"], "unknown flag '--vot'; did you mean '--vote'"),
        (["--zzzzzz"], "--help lists all flags"),
        (["--seed", "x"], "--seed"),
        (["--seed"], "--seed"),
        (["--launcher", "slurm"], "none"),
        (["epochs"], "neither a flag nor an override"),
        (["--ckpts", "a", "--start_ckpts", "b"], "--ckpts and --start_ckpts exclude each other"),
        (["--ckpts", "a", "--scratch_model"], "--ckpts and --scratch_model exclude each other"),
    ],
)
def test_mistakes_are_named(argv, message):
    with pytest.raises(InputError, match=message):
        overrides(*argv)


def test_a_config_is_needed():
    with pytest.raises(InputError, match="--config is missing"):
        cli.parse(["--seed", "3"])


def test_looking_at_the_data_needs_no_config():
    args = cli.parse(["--check-data", "data_root=x"])
    assert args.check_data and args.config is None and cli.to_overrides(args) == ["data_root=x"]
    assert cli.parse(["--check_data"]).check_data and not cli.parse(["--config", "x.yaml"]).check_data


def test_the_launcher_insists_on_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(InputError, match="needs torchrun"):
        overrides("--launcher", "pytorch")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert overrides("--launcher", "pytorch") == []


@pytest.mark.parametrize(
    "argv, remedy",
    [
        (["--lr", "1e-4"], "'optim.lr' is a key of the config: write optim.lr=1e-4"),
        (["--lr=1e-4"], "write optim.lr=1e-4"),
        (["--epochs", "10"], "write epochs=10"),
        (["--batch_size", "16"], "write batch_size=16"),
        (["--batch-size", "16"], "write batch_size=16"),
        (["--num_points", "2048"], "write data.num_points=2048"),
        (["--drop_path", "--vote"], "write model.drop_path=VALUE"),
        (["--weight_decay", "optim.lr=3"], "write optim.weight_decay=VALUE"),
        (["--learning_rate", "1e-3"], "write optim.lr=1e-3"),
        (["--gpu", "1"], "write device=cuda:1"),
        (["--device", "cpu"], "write device=cpu"),
        (["--betas", "[0.9, 0.99]"], "write 'optim.betas=[0.9, 0.99]'"),
        (["--pretrained", "x.pth"], "did you mean '--ckpts'"),
        (["--eval"], "did you mean '--test'"),
        (["-lr", "3"], "write optim.lr=3"),
        (["--" + "l" * 10_000], "--help lists all flags"),
        (["--model.embed_dim", "32"], "'model.embed_dim' is a key of the config: write model.embed_dim=32"),
        (["--model.embed-dim=32"], "write model.embed_dim=32"),
        (["--model.embed_dm", "32"], "write model.embed_dim=32"),
        (["--teachers.mine.type", "x"], "write teachers.mine.type=x"),
        (["--evaluators.svm.C=3"], "write evaluators.svm.C=3"),
        (["--warmup", "3"], "write optim.warmup_epochs=3"),
        (["--epoch", "3"], "write epochs=3"),
        (["--warmup_epoch", "3"], "write optim.warmup_epochs=3"),
        (["--wrmup_epochs", "3"], "did you mean 'optim.warmup_epochs' of the config? Then write optim.warmup_epochs=3"),
        (
            ["--dropout", "0.1"],
            "'dropout' names keys of the config: write data.augment.dropout=0.1 or classifier.dropout=0.1 or "
            "segmenter.dropout=0.1",
        ),
        (["--ema", "0.99"], "write ema.decay=0.99"),
        (["--gpus", "0,1"], "CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc_per_node=2 main.py"),
        (["--gpus=0,2,3"], "CUDA_VISIBLE_DEVICES=0,2,3 torchrun --nproc_per_node=3 main.py"),
        (["--gpus", "0", "1", "epochs=3"], "CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc_per_node=2 main.py"),
    ],
)
def test_flags_that_are_keys_of_the_config_name_the_remedy(argv, remedy):
    with pytest.raises(InputError) as error:
        cli.parse(["--config", "x.yaml", *argv])
    assert remedy in str(error.value) and len(str(error.value)) < 300


def test_every_key_may_be_taken_for_a_flag():
    keys = [key for key in load_schema().keys() if "." in key and "<" not in key]
    for key in keys:
        with pytest.raises(InputError, match=f"write {key}[=.]"):
            cli.parse(["--config", "x.yaml", f"--{key}"])


def test_every_alias_leads_somewhere():
    keys, flags = set(load_schema().keys()), set(cli._make_parser()._option_string_actions)
    assert not [target for target in cli.ALIASES.values() if target not in keys | flags]
    assert not [name for name in cli.ALIASES if f"--{name}" in flags], "a flag needs no alias"


def test_looking_needs_no_config():
    assert cli.parse(["--list", "datasets"]).list == "datasets"
    assert cli.parse(["--config", "x.yaml", "--print-config"]).print_config
    with pytest.raises(InputError, match="--config is missing"):
        cli.parse(["--print-config"])
