"""Compiling the CPU operations, and going on without a compiler."""

import shutil
from pathlib import Path

import pytest

from pointrecon.extensions import build

EXPORT = 'extern "C" __attribute__((visibility("default"))) '


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A package with one small C++ file, in a folder of its own."""
    (tmp_path / "csrc").mkdir()
    (tmp_path / "fps").mkdir()
    (tmp_path / "fps" / "fps.cpp").write_text(EXPORT + "int point_ops_fps() { return 0; }\n")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.delenv("POINT_OPS_LEVEL", raising=False)
    return tmp_path


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in build.COMPILERS), reason="there is no C++ compiler"
)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@needs_compiler
def test_it_is_built_once_and_again_when_a_source_changes(root, caplog):
    caplog.set_level("INFO")
    first = build.build()
    assert first.is_file() and first.parent == root / "csrc" / "build" and files(first.parent) == [first.name]
    modified = first.stat().st_mtime_ns
    assert build.build() == first and first.stat().st_mtime_ns == modified
    assert build.main([]) == 0 and not caplog.messages
    with (root / "fps" / "fps.cpp").open("a") as file:
        file.write("// changed\n")
    assert build.library_path() != first and not build.library_path().is_file()
    other_level = first.with_name(build.library_path().name.replace(build.usable_levels()[0].name, "other"))
    other_level.touch()
    second = build.build()
    assert files(first.parent) == sorted([second.name, other_level.name]), "the stale library must go, and it alone"


def test_the_name_does_not_change_from_process_to_process(root):
    assert build.library_path() == build.library_path()
    assert build.library_path().name.startswith("point_ops-")


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("sse2", "sse2"),
        ("sse2 avx avx2 bmi1 bmi2 f16c fma movbe popcnt", "avx2"),
        ("sse2 avx avx2 fma", "sse2"),
        ("avx avx2 bmi1 bmi2 f16c fma movbe popcnt avx512f avx512bw avx512cd avx512dq avx512vl", "avx512"),
        ("avx avx2 bmi1 bmi2 f16c fma movbe popcnt avx512f", "avx2"),
    ],
)
def test_the_best_level_that_the_processor_has_is_taken(root, monkeypatch, flags, level):
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(build, "_processor_flags", lambda: frozenset(flags.split()))
    assert build.library_path().name.endswith(f"-{level}.so")
    lowest = build._place(build.LEVELS["x86_64"][-1])
    lowest.parent.mkdir()
    lowest.touch()
    assert build.library_path() == lowest, "what is there serves until the best one is built"


def test_a_variable_chooses_a_lower_level(root, monkeypatch):
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(build, "_processor_flags", lambda: build.LEVELS["x86_64"][1].needs)
    monkeypatch.setenv("POINT_OPS_LEVEL", "sse2")
    assert build.library_path().name.endswith("-sse2.so")
    monkeypatch.setenv("POINT_OPS_LEVEL", "avx512")
    with pytest.raises(build.BuildError, match="POINT_OPS_LEVEL is 'avx512', but this machine can run: avx2, sse2"):
        build.usable_levels()


def test_another_kind_of_processor_has_one_level(root, monkeypatch):
    monkeypatch.setattr(build.platform, "machine", lambda: "aarch64")
    assert [level.name for level in build.usable_levels()] == ["generic"]


def test_a_user_without_a_home_builds_too(root, monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    assert build.library_path().parent == root / "csrc" / "build"


@needs_compiler
def test_a_wheel_has_a_library_for_each_level(root, tmp_path):
    folder = tmp_path / "wheel"
    assert build.main(["--portable", str(folder)]) == 0
    levels = {path.stem.rpartition("-")[2] for path in folder.iterdir()}
    assert levels == {level.name for level in build._levels()}
    assert all(b"libstdc++.so" not in path.read_bytes() for path in folder.iterdir())


@needs_compiler
def test_sources_that_do_not_compile_leave_nothing(root):
    (root / "fps" / "two.cpp").write_text("this is no C++\n")
    with pytest.raises(build.BuildError, match="could not compile"):
        build.build()
    assert not list((root / "csrc" / "build").iterdir())


@needs_compiler
def test_a_library_that_crashes_is_not_used(root):
    (root / "fps" / "fps.cpp").write_text(EXPORT + "int point_ops_fps() { __builtin_trap(); }\n")
    with pytest.raises(build.BuildError, match="does not run on this machine"):
        build.build()


def test_without_a_compiler_one_line_says_so(root, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.main([]) == 0
    assert len(caplog.messages) == 1
    assert "they run in plain PyTorch, which is slower: there is no C++ compiler" in caplog.messages[0]
