"""The recipes of deploy/ against the project: the options that they give exist, and the files that they name."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny_runs import ROOT
from train import parse_arguments
from training.config import read_overrides
from training.presets import preset_names

DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
RECIPES = [*SCRIPTS, DEPLOY / "jobset.yaml", DEPLOY / "Dockerfile"]
NEEDED = ("train.py", "evaluate.py", "vit_environment.py", "configs.yml", "training", "model", "data")


def jobset() -> Any:
    return yaml.safe_load((DEPLOY / "jobset.yaml").read_text(encoding="utf-8"))


def job() -> Any:
    (only,) = jobset()["spec"]["replicatedJobs"]
    return only


def script_of_jobset() -> str:
    (container,) = job()["template"]["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    return str(script)


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, wherever it stands."""
    return re.findall(rf"^{name} (.*)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_option_exists(recipe: Path) -> None:
    given = re.findall(r"\b(?:model|loss|optim|data|augment|train)\.\w+=\S+", recipe.read_text(encoding="utf-8"))
    assert any(option.startswith(("train.devices=", "train.distributed=")) for option in given)
    read_overrides([option.strip('"') for option in given if "$" not in option])  # raises where one does not exist
    assert {option.partition("=")[0] for option in given if "$" in option} <= {"train.distributed"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_preset_exists(recipe: Path) -> None:
    named = re.findall(r"(?:train\.py|slurm\.sh|set --) (\w+)(?= |$)", recipe.read_text(encoding="utf-8"), re.M)
    assert named
    assert set(named) <= set(preset_names())


@pytest.mark.parametrize("text", [*(script.read_text(encoding="utf-8") for script in SCRIPTS), script_of_jobset()])
def test_every_script_is_valid(text: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def fake(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("begun", "code"), [(False, 0), (False, 143), (True, 143), (True, 2)])
def test_a_job_of_slurm_resumes_its_run_and_is_queued_again_only_if_it_was_stopped(
    tmp_path: Path, begun: bool, code: int
) -> None:
    fake(tmp_path / "srun", f'echo "$@"; exit {code}')
    fake(tmp_path / "scontrol", 'echo "$@"')
    if begun:
        (tmp_path / "runs" / "slurm-7").mkdir(parents=True)
        (tmp_path / "runs" / "slurm-7" / "config.yml").touch()
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7"}
    command = ["bash", str(DEPLOY / "slurm.sh"), "demo", "train.steps=7"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, text=True, capture_output=True)
    assert (ended.returncode, ended.stderr) == (code, "")
    started, *queued = ended.stdout.splitlines()
    python, program, *arguments = started.split()
    assert (python, program) == ("python", "train.py")
    assert queued == (["requeue 7"] if code == 143 else [])
    args = parse_arguments(arguments)
    assert args.resume == (Path("runs/slurm-7") if begun else None)
    assert args.run == (None if begun else Path("runs/slurm-7"))
    assert "train.distributed=auto" in arguments
    assert ("train.steps=7" in arguments) is not begun  # the run knows its options


def test_the_jobset_has_as_many_processes_as_it_says() -> None:
    spec = job()["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    hosts = {variable["name"]: variable["value"] for variable in container["env"]}["HOSTS"]
    assert {str(spec["completions"]), str(spec["parallelism"])} == {hosts}
    assert spec["completionMode"] == "Indexed"  # sets JOB_COMPLETION_INDEX
    name = jobset()["metadata"]["name"]
    assert f"first={name}-{job()['name']}-0-0.{name}\n" in script_of_jobset()


def test_the_image_gets_what_it_needs() -> None:
    copied = [file for line in instructions("COPY") for file in line.split()[:-1] if file != "."]
    assert copied == ["requirements.txt", "requirements-gpu.txt"]
    assert all((ROOT / file).is_file() for file in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert not set(ignored) & {*NEEDED, *copied}
    assert {".git", "runs", "datasets", ".venv"} <= set(ignored)
    assert instructions("USER") == ["1000:1000"]  # by number, for runAsNonRoot of Kubernetes
