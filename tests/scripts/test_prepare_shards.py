"""The program that writes shards."""

from tests.programs import call_program


def run(*arguments):
    return call_program("prepare_data.py", "shards", *arguments)


def test_shards_of_the_bundled_data(tmp_path):
    arguments = ("--config", "cfgs/quickstart/pretrain.yaml", "--splits", "test", "--out", tmp_path)
    done = run(*arguments, "--shard_size", 60, "teachers.text=null")
    assert done.returncode == 0 and done.stdout == f"{tmp_path}/test: 109 samples\n", done.stderr
    names = {"index.json", "index.npy", "objects.npy", "plan.json", "test-000000.tar", "test-000001.tar"}
    assert {path.name for path in (tmp_path / "test").iterdir()} == names
    again = run(*arguments, "--shard_size", 50)
    assert again.returncode == 2 and again.stderr.startswith("error: ") and again.stderr.count("\n") == 1
