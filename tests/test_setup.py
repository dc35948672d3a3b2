"""setup.sh with stand-ins for Python and pip: what it makes anew, what it keeps, what it says."""

import os
import shutil
import subprocess
import sys

import pytest

from tests import ROOT

# A base interpreter: answers -c and --version itself, and makes environments with STAND_IN as their python.
BASE = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
  shift 2; for folder; do :; done
  echo "venv $*" >> "$LOG"
  mkdir -p "$folder/bin"; touch "$folder/pyvenv.cfg"
  cp "$STAND_IN" "$folder/bin/python"; chmod +x "$folder/bin/python"
  if [ -n "$VENV_FAILS" ]; then echo "$VENV_FAILS"; exit 1; fi
  touch "$folder/has_pip"; exit 0
fi
exec {python} "$@"
"""
# The python of an environment. Its pip is there if the environment was made to the end, and logs what it is asked.
STAND_IN = """#!/bin/sh
root=$(dirname "$(dirname "$0")")
case "$1 $2 $3" in
  "-m pip --version") [ -e "$root/has_pip" ]; exit ;;
  "-m pip install") echo "$@" >> "$LOG"
    if [ -n "$PIP_FAILS" ]; then echo "$PIP_FAILS"; exit 1; fi; exit 0 ;;
  "extensions/build.py  ") echo compile >> "$LOG"; exit 0 ;;
esac
case "$2" in
  *importlib.metadata*) if [ -n "$TORCH" ]; then echo "torch==$TORCH"; fi ;;
  *"print("*) echo "torch 2.9 on CPU" ;;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """setup(*options, **environment) -> (exit code, what it said, what was called)."""
    for name in ("setup.sh", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    base, stand_in, log = tmp_path / "base_python", tmp_path / "stand_in", tmp_path / "calls"
    base.write_text(BASE.replace("{python}", sys.executable))
    base.chmod(0o755)
    stand_in.write_text(STAND_IN)

    def run(*options, **environment):
        log.write_text("")
        kept = {key: value for key, value in os.environ.items() if key not in ("VENV", "PYTHON", "TORCH_INDEX")}
        known = {"PYTHON": str(base), "STAND_IN": str(stand_in), "LOG": str(log)}
        command = ["bash", str(tmp_path / "setup.sh"), *options]
        env = {**kept, **known, **environment}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()

    run.folder = tmp_path
    return run


def test_a_new_environment_and_then_nothing(setup):
    code, said, calls = setup()
    assert code == 0 and "setup: ready" in said, said
    assert [call.split()[0] for call in calls] == ["venv", "-m", "compile"] and "-r requirements.txt" in calls[1]
    assert setup() == (0, "", ["compile"]), "nothing has changed"


def test_a_changed_requirement_is_installed(setup):
    setup()
    (setup.folder / "requirements.txt").write_text("-e .\n")
    code, _, calls = setup()
    assert code == 0 and [call.split()[0] for call in calls] == ["-m", "compile"]


def test_a_half_made_environment_is_made_anew(setup):
    code, said, _ = setup(VENV_FAILS="The virtual environment was not created: ensurepip is not available.")
    assert code == 2 and "sudo apt install python3-venv" in said and not (setup.folder / ".venv").exists()
    (setup.folder / ".venv" / "bin").mkdir(parents=True)  # as the program before this one left it
    (setup.folder / ".venv" / "pyvenv.cfg").touch()
    shutil.copy(setup.folder / "stand_in", setup.folder / ".venv" / "bin" / "python")
    (setup.folder / ".venv" / "bin" / "python").chmod(0o755)
    code, said, calls = setup()
    assert code == 0 and "has no pip in it; it is made anew" in said and calls[0].startswith("venv")


def test_a_folder_that_is_no_environment_is_left_alone(setup):
    (setup.folder / "mine").mkdir()
    (setup.folder / "mine" / "thesis.tex").touch()
    code, said, calls = setup(VENV="mine")
    assert code == 2 and "'mine' is there, but is no environment" in said and not calls
    assert (setup.folder / "mine" / "thesis.tex").exists()


@pytest.mark.parametrize("stage", ["VENV_FAILS", "PIP_FAILS"])
def test_a_full_disk_is_called_so(setup, stage):
    code, said, _ = setup(**{stage: "ERROR: Could not install: [Errno 28] No space left on device"})
    assert code == 2 and "the disk is full" in said and "apt install" not in said
    assert not (setup.folder / ".venv" / ".requirements.sha256").exists()


def test_another_failure_shows_the_last_words(setup):
    code, said, _ = setup(VENV_FAILS="Error: the moon is full")
    assert code == 2 and "the moon is full" in said and "apt install" not in said
    code, said, _ = setup(PIP_FAILS="ERROR: no matching distribution")
    assert code == 2 and "no matching distribution" in said and "pip could not install the requirements" in said


@pytest.mark.parametrize(
    "options, environment, index",
    [
        (("--cpu",), {}, "https://download.pytorch.org/whl/cpu"),
        ((), {"TORCH_INDEX": "https://example.org/whl"}, "https://example.org/whl"),
    ],
)
def test_torch_of_another_index(setup, options, environment, index):
    code, said, calls = setup(*options, **environment)
    assert code == 0, said
    assert f"--index-url {index}" in calls[1] and "torch>=2.6 torchvision" in calls[1]
    assert "--index-url" not in calls[2] and "-r requirements.txt" in calls[2]
    assert setup() == (0, "", ["compile"]), "a later run without the option keeps it"
    code, said, calls = setup(TORCH_INDEX="https://other.org/whl")
    assert code == 2 and "was made with other options" in said and not calls


def test_a_torch_that_is_there_is_kept(setup):
    code, _, calls = setup("--system-site-packages", TORCH="2.7.1+rocm6.3")
    assert code == 0 and "--system-site-packages" in calls[0]
    assert "--constraint .venv/.constraints.txt" in calls[1] and len(calls) == 3
    assert (setup.folder / ".venv" / ".constraints.txt").read_text() == "torch==2.7.1+rocm6.3\n"


def test_wheels_without_a_network(setup, tmp_path):
    (tmp_path / "wheels").mkdir()
    code, _, calls = setup("--find-links", str(tmp_path / "wheels"))
    assert code == 0 and f"--no-index --find-links {tmp_path / 'wheels'}" in calls[1]


@pytest.mark.parametrize(
    "options, environment, message",
    [
        (("--gpu",), {}, "unknown option '--gpu'; there are --cpu"),
        (("--find-links", "nowhere"), {}, "needs a folder with wheels, not 'nowhere'"),
        (("--find-links",), {}, "needs a folder with wheels"),
        ((), {"PYTHON": "no-such-python"}, "no 'no-such-python' on PATH"),
    ],
)
def test_mistakes_are_named(setup, options, environment, message):
    code, said, calls = setup(*options, **environment)
    assert code == 2 and message in said and not calls and said.count("\n") == 1


def test_every_script_means_the_same_by_its_variables():
    """PYTHON is run as it is, where it is given, and the environment's python otherwise."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "scripts").glob("*.sh"))}
    rests = {name: text.replace("${PYTHON:-${VENV:-.venv}/bin/python}", "<python>") for name, text in texts.items()}
    assert sum("<python>" in text for text in rests.values()) >= 7
    assert not [name for name, text in rests.items() if "venv/bin" in text or "${PYTHON:-." in text]
    lines = [line for text in rests.values() for line in text.split("\n") if not line.startswith("#")]
    assert {line for line in lines if "bash setup.sh" in line} == {'[ -n "${PYTHON:-}" ] || bash setup.sh'}
