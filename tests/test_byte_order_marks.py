"""Files that were edited with a program that writes a byte-order mark are read as if they had none."""

import shutil
from pathlib import Path

from exercises.machinery.runner import load, read
from training.metrics import MetricsRow
from training.run_folder import RunFolder
from training.yaml_text import parse_yaml, read_utf8

MARK = b"\xef\xbb\xbf"


def test_an_exercise_file(tmp_path: Path) -> None:
    path = tmp_path / "dense_input.py"
    path.write_bytes(MARK + b"def backward():\n    return 3\n")
    assert load(read(path), path).backward() == 3


def test_a_file_of_presets(tmp_path: Path) -> None:
    path = tmp_path / "presets.yml"
    path.write_bytes(MARK + b"mine:\n  extends: demo\n")
    assert parse_yaml(read_utf8(path), str(path)) == {"mine": {"extends": "demo"}}


def test_the_files_of_a_run(finished: Path, tmp_path: Path) -> None:
    run, marked = RunFolder(finished), RunFolder(Path(shutil.copytree(finished, tmp_path / "marked")))
    for name in ("config.yml", "classes.json", "metrics.csv"):
        (marked.path / name).write_bytes(MARK + (marked.path / name).read_bytes())
    assert marked.read_config() == run.read_config()
    assert marked.read_classes() == run.read_classes()
    assert marked.read_metrics() == run.read_metrics()
    row = MetricsRow(9, 99, 1.0, 1.0, 0.5, 0.5, 1e-3, 10.0, 10.0, 0.0)
    marked.append_metrics(row)
    assert marked.read_metrics() == [*run.read_metrics(), row]
