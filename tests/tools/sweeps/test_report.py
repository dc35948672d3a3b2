"""One result table as CSV, Markdown, LaTeX and JSON."""

import csv
import io
import json

import pytest

from pointrecon.tools.sweeps.report import format_csv, format_latex, format_markdown, make_report, to_json, write_report
from pointrecon.tools.sweeps.summary import Record


@pytest.fixture
def report():
    """Two rows, three pretrainings, two folds; `b` is 0.1 worse, a little more on pretraining 2."""
    values = {"row_a": 0.8, "b": 0.7}
    records = [
        Record(row, "svm", number, fold, 1000 * number, value + 0.01 * fold + 0.02 * number * (row == "b"), "run")
        for row, value in values.items()
        for number in range(3)
        for fold in range(2)
    ]
    records.append(Record("row_a", "zero", 0, None, 0, 0.25, "run"))
    return make_report(
        records, [("row_a", "b")], {"row_a": {"seconds": 60.4, "parameters": 1.5e6}, "b": {"measuring": 12.0}}, {"b": 4}
    )


def test_every_number_is_in_the_csv(report):
    lines = list(csv.DictReader(io.StringIO(format_csv(report))))
    assert [(line["row"], line["metric"]) for line in lines] == [("row_a", "svm"), ("row_a", "zero"), ("b", "svm")]
    first = lines[0]
    assert float(first["mean"]) == pytest.approx(0.805) and float(first["std"]) == pytest.approx(0, abs=1e-9)
    assert first["against"] == "b" and float(first["gain"]) == pytest.approx(0.08) and first["pairs"] == "6"
    assert float(first["p"]) == pytest.approx(float(first["p_holm"])) and 0 < float(first["p"]) < 0.05
    assert lines[1]["std"] == "" and lines[2]["against"] == ""
    costs = [[line[key] for key in ("seconds", "measuring", "parameters")] for line in lines]
    assert costs == [["60.4", "", "1500000.0"]] * 2 + [["", "12.0", ""]]


def test_markdown(report):
    text = format_markdown(report)
    assert "| row_a | 0.805 ± 0.000 (0.805 to 0.805, n=6) | 0.250 (n=1) | 60 |  | 1.50 M |" in text
    assert next(line for line in text.splitlines() if line.startswith("| b |")).endswith("|  | 12 |  |")
    assert "| svm | row_a - b | +8.0 | +3.0 to +13.0 | 6 of 6 | 3 pretrainings |" in text
    assert "4 runs (b 4)" in text
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n\n")]
    assert all(len({line.count("|") for line in lines}) == 1 for lines in tables if lines)


def test_latex(report):
    text = format_latex(report)
    assert "row\\_a & 80.5 $\\pm$ 0.0$^{*}$ & 25.0 & 1--6 \\\\" in text and text.count("&") == 9
    assert text.startswith("\\begin{tabular}{lrrr}") and "\\end{tabular}" in text


def test_json_and_files(report, tmp_path):
    paths = write_report(report, tmp_path / "new", {"note": 1})
    assert [path.name for path in paths] == ["table.csv", "runs.csv", "table.md", "table.tex", "table.json"]
    content = json.loads(paths[-1].read_text())
    assert content["note"] == 1 and content["rows"]["b"]["svm"]["unit"] == "pretraining"
    assert len(content["runs"]) == 13 == len(paths[1].read_text().splitlines()) - 1
    assert json.loads(json.dumps(to_json(report))) == {key: content[key] for key in to_json(report)}
