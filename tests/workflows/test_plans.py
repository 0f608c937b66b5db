"""Plans without jobs: profiles, linters, and what is refused before any job."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from genomamba.assets import folder as assets

ROOT = Path(__file__).parents[2]
JOBS = {"encode": 2, "species_set": 1, "split": 1, "manifest": 2, "train": 1, "evaluate": 1}
JOBS |= {"classify": 4, "merge": 2, "report": 1, "all": 1}


def jobs(plan: str) -> dict[str, int]:
    """Rules and numbers of the table of jobs that a dry run prints first."""
    table = plan.split("Job stats:")[1].split("total")[0]
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


@pytest.mark.parametrize("profile", ["local", "slurm", "kubernetes"])
def test_plan_with_a_profile(workflow: Path, snakemake, profile: str) -> None:
    options = ["--dry-run", "--profile", f"profiles/{profile}"]
    if profile == "slurm":  # in the dev extra: never skipped
        import snakemake_executor_plugin_slurm  # noqa: F401
    if profile == "kubernetes":
        for module in ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"):
            pytest.importorskip(module, reason=f"pip install {module.replace('_', '-')}")
        # The storage that the profile names is this folder here.
        options += ["--default-storage-prefix", str(workflow)]
    plan = snakemake(workflow, *options)
    assert plan.returncode == 0, plan.stdout
    assert jobs(plan.stdout) == JOBS


def test_kubernetes_settings_are_the_plugins(workflow: Path) -> None:
    reason = "pip install snakemake-executor-plugin-kubernetes"
    plugin = pytest.importorskip("snakemake_executor_plugin_kubernetes", reason=reason)
    profile = yaml.safe_load((workflow / "profiles" / "kubernetes" / "config.yaml").read_text())
    own = {key.removeprefix("kubernetes-") for key in profile if key.startswith("kubernetes-")}
    assert own
    assert own <= {name.replace("_", "-") for name in plugin.ExecutorSettings.__annotations__}
    for volume in profile["kubernetes-persistent-volumes"]:
        assert plugin.PersistentVolume.parse(volume).path == Path("/volume")


def test_an_unknown_key_of_a_profile_is_refused(workflow: Path, snakemake) -> None:
    with (workflow / "profiles" / "slurm" / "config.yaml").open("a") as file:
        file.write("slurm-no-such-option: 1\n")
    done = snakemake(workflow, "--dry-run", "--profile", "profiles/slurm")
    assert done.returncode != 0
    assert "slurm-no-such-option" in done.stdout


def test_the_linters_find_nothing(workflow: Path, snakemake) -> None:
    done = snakemake(workflow, "--lint")
    assert done.returncode == 0, done.stdout
    assert "good condition" in done.stdout
    snakefmt = Path(sys.executable).with_name("snakefmt")
    formatted = subprocess.run(
        [snakefmt, "--check", "--diff", assets("workflows")], capture_output=True, text=True
    )
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr


def test_every_rule_has_log_retries_and_resources(workflow: Path) -> None:
    rules = {
        match[1]: match[2]
        for path in sorted((workflow / "rules").glob("*.smk"))
        for match in re.finditer(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.M | re.S)
    }
    assert set(rules) == set(JOBS) - {"all"}
    for name, text in rules.items():
        for directive in ("log:", "retries:", "mem_mb=", "runtime=", "conda:"):
            assert directive in text, f"{name}: no {directive}"
        assert ("gpu=" in text) == (name in {"train", "evaluate", "classify"}), name


def test_the_environment_file_fits_the_project(workflow: Path) -> None:
    [python, _, pip] = yaml.safe_load((workflow / "envs" / "genomamba.yaml").read_text())[
        "dependencies"
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert python == f"python ={project['requires-python'].removeprefix('>=')}"
    assert pip == {"pip": [f"./genomamba-{version('genomamba')}-py3-none-any.whl"]}


BAD_CONFIG = [
    ("shards: 2", "shards: 0", "config: shards: 0 is less than the minimum of 1"),
    ("seed: 1", "sede: 1", "'sede' was unexpected"),
    ("[sim/human.fa]", "[sim/human.fa, sim/human.fa.gz]", "another table is called human"),
    ("species_sheet: species_sheet.tsv", "species_sheet: none.tsv", "none.tsv: cannot be read"),
    ("[sim/human.fa]", "[sim/no.fa]", "Missing input files for rule classify"),
]
BAD_SPECIES = [
    ("species\tpath\nhuman\tsim/human.fa\n", "line 2: Additional properties are not allowed"),
    ("species\tfasta\nhuman\n", "line 2: fasta: '' should be non-empty; expected a FASTA file"),
    ("species\tfasta\nhuman\tsim/human.fa\n../x\ta.fa\n", "line 3: species: '../x' does not match"),
    ("species\tfasta\nhuman\tsim/human.fa\n", "expected at least two species"),
    ("species\tfasta\nhuman\tsim/human.fa\ncat\tno.fa\n", "Missing input files for rule encode"),
]
BAD_SAMPLES = [
    ("sample\tpath\n", "samples.tsv: expected a header line and rows"),
    ("sample\tfile\nx\ty.fa\n", "samples.tsv, line 2: Additional properties"),
    ("sample\tpath\n\tsim/human.fa\n", "samples.tsv, line 2: sample: '' should be non-empty"),
    ("sample\tpath\nx\tno.fa\n", "Missing input files for rule classify"),
]


def refused(workflow: Path, snakemake, message: str) -> None:
    done = snakemake(workflow)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert len(done.stdout.splitlines()) < 20, done.stdout  # no dump of a schema
    assert not (workflow / "results").exists()


@pytest.mark.parametrize(("good", "bad", "message"), BAD_CONFIG, ids=lambda text: text[:20])
def test_a_bad_config_is_refused_before_any_job(
    workflow: Path, snakemake, good: str, bad: str, message: str
) -> None:
    text = (workflow / "config.yaml").read_text()
    assert good in text
    (workflow / "config.yaml").write_text(text.replace(good, bad))
    refused(workflow, snakemake, message)


@pytest.mark.parametrize(("sheet", "message"), BAD_SPECIES)
def test_a_bad_species_sheet_is_refused_before_any_job(
    workflow: Path, snakemake, sheet: str, message: str
) -> None:
    (workflow / "species_sheet.tsv").write_text(sheet)
    refused(workflow, snakemake, message)


@pytest.mark.parametrize(("sheet", "message"), BAD_SAMPLES)
def test_a_bad_sample_sheet_is_refused_before_any_job(
    workflow: Path, snakemake, sheet: str, message: str
) -> None:
    (workflow / "samples.tsv").write_text(sheet)
    refused(workflow, snakemake, message)
