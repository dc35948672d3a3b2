"""pointrecon report and pointrecon table."""

import csv
import io
import statistics

import pytest

from pointrecon.tools.predict import command
from pointrecon.utils.files.io import read_json


def call(*argv):
    return command.main([str(item) for item in argv])


def test_table_of_seeds(runs, capsys):
    assert call("table", runs, "--format", "csv") == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    row = next(line for line in lines if (line["row"], line["metric"]) == ("tune", "accuracy"))
    values = [read_json(runs / f"tune-seed{seed}" / "result.json")["accuracy"] for seed in (0, 1)]
    assert float(row["mean"]) == pytest.approx(statistics.mean(values)) and row["num_values"] == "2"
    assert float(row["std"]) == pytest.approx(statistics.stdev(values))


def test_table_as_markdown_and_latex(runs, tmp_path, capsys):
    assert call("table", runs, "--metrics", "accuracy") == 0
    assert "| row | accuracy |" in (text := capsys.readouterr().out) and "n=2)" in text
    assert call("table", runs, "-o", tmp_path / "t.tex") == 0
    text = (tmp_path / "t.tex").read_text()
    assert "$\\pm$" in text and "& 2 \\\\" in text and "mean\\_class\\_accuracy" in text


def test_what_cannot_be_in_a_table(runs, tmp_path, capsys):
    assert call("table", runs, "--metrics", "acuracy") == 2
    assert "did you mean 'accuracy'?" in capsys.readouterr().err
    assert call("table", runs, "-o", tmp_path / "t.doc") == 2
    for seed in (0, 1):
        (runs / f"tune-seed{seed}" / "result.json").unlink()
    assert call("table", runs / "tune-seed0", runs / "tune-seed1") == 2
    assert "none of the runs is finished" in capsys.readouterr().err


def test_report_command(runs, tmp_path, capsys):
    pytest.importorskip("plotly")
    assert call("report", runs / "tune-seed0", "-o", tmp_path / "r.html", "--no_network") == 0
    assert (tmp_path / "r.html").stat().st_size > 1e6
    assert call("report", runs, "-o", tmp_path / "r.pdf") == 2 and ".html" in capsys.readouterr().err
    assert call("report", tmp_path / "none", "-o", tmp_path / "r.html") == 2
    assert call("report", runs, "--follow", "--every", 0) == 2


def test_a_place_that_cannot_be_written_is_named(runs, tmp_path, capsys):
    pytest.importorskip("plotly")
    (tmp_path / "file").write_text("")
    assert call("report", runs / "tune-seed0", "-o", tmp_path / "file" / "r.html", "--no_network") == 2
    assert "cannot make the folder" in capsys.readouterr().err
