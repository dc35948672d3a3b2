"""python -m pointrecon.tools.visualize."""

from pointrecon.tools.visualize.__main__ import main


def test_pictures_are_drawn_and_named(metrics, tmp_path, capsys, check_picture):
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.jsonl").write_text(metrics.read_text())
    assert main([str(tmp_path), "--against", str(other)]) == 0
    names = ["curves.png", "curves-against.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "figures" / name) for name in names]
    check_picture(tmp_path / "figures" / "curves-against.png")


def test_formats_and_titles(metrics, tmp_path, capsys):
    assert main([str(tmp_path), "--format", "svg", "--untitled"]) == 0
    picture = tmp_path / "figures" / "curves.svg"
    assert capsys.readouterr().out.splitlines() == [str(picture)]
    assert picture.read_bytes().startswith(b"<?xml") and not (tmp_path / "figures" / "curves.png").exists()
    assert main([str(tmp_path), "--format", "gif"]) == 2
    assert "png" in capsys.readouterr().err


def test_bad_input_is_one_sentence_and_code_2(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    assert main([str(tmp_path)]) == 2
    (tmp_path / "metrics.jsonl").write_text("{")
    assert main([str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert "none' does not exist" in lines[0] and "metrics.jsonl', line 1" in lines[2]
