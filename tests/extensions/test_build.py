"""Compiling the CPU operations, and going on without a compiler."""

import shutil

import pytest

from extensions import build

EXPORT = 'extern "C" __attribute__((visibility("default"))) '


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A library of one small file in a folder of its own."""
    (tmp_path / "one.cpp").write_text(EXPORT + "bool point_ops_fps() { return true; }\n")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    return tmp_path


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in build.COMPILERS), reason="there is no C++ compiler"
)


@needs_compiler
def test_it_is_built_once_and_again_when_a_source_changes(sources, caplog):
    caplog.set_level("INFO")
    first = build.build()
    assert first.is_file() and first.parent == sources / "build"
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    modified = first.stat().st_mtime_ns
    assert build.build() == first and first.stat().st_mtime_ns == modified
    assert build.main() == 0 and not caplog.messages
    with (sources / "one.cpp").open("a") as file:
        file.write("// changed\n")
    assert build.library_path() != first and not build.library_path().is_file()


def test_another_processor_has_another_library(sources, monkeypatch):
    here = build.library_path()
    monkeypatch.setattr(build, "_processor", lambda: "flags: none")
    assert build.library_path() != here


@needs_compiler
def test_sources_that_do_not_compile_leave_nothing(sources):
    (sources / "two.cpp").write_text("this is no C++\n")
    with pytest.raises(build.BuildError, match="could not compile"):
        build.build()
    assert not list((sources / "build").iterdir())


@needs_compiler
def test_a_library_that_crashes_is_not_used(sources):
    (sources / "one.cpp").write_text(EXPORT + "bool point_ops_fps() { __builtin_trap(); }\n")
    with pytest.raises(build.BuildError, match="does not run on this machine"):
        build.build()


def test_without_a_compiler_one_line_says_so(sources, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.main() == 0
    assert len(caplog.messages) == 1
    assert "they run in plain PyTorch, which is slower: there is no C++ compiler" in caplog.messages[0]
