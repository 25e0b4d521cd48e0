"""The README keeps its word: its commands are the ones that are tested, and exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_ci_runs_the_command_that_the_readme_gives():
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert command.endswith(".venv/bin/pytest")
    assert command in README.splitlines()


def test_the_first_command_runs_the_main_job_on_a_clip_that_is_here():
    first = next(line for line in README.splitlines() if line.startswith("python3 -m venv"))
    assert ".venv/bin/pip install . && .venv/bin/posecli video assets/demo.mp4 --out " in first
    assert (ROOT / "assets" / "demo.mp4").is_file()


def test_commands_of_the_readme_exist():
    from pipeline.cli import app

    known = {(command.name or command.callback.__name__.replace("_", "-")) for command in app.registered_commands}
    assert set(re.findall(r"posecli ([a-z]+(?:-[a-z]+)*) ", README)) <= known


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!https?:)[^)]+)\)", README))
def test_links_of_the_readme_lead_somewhere(link):
    assert (ROOT / link).exists()
