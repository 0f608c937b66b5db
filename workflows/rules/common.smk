# What the rules share: the checked configuration and sheets, and names of files.
import csv
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate


def check(value, schema, where):
    """Refuse what the schema does not allow, in a line: Snakemake would print all of the schema."""
    content = yaml.safe_load(Path(schema).read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(content).iter_errors(value))
    if error is not None:
        place = "".join(f"{name}: " for name in error.absolute_path)
        expected = error.schema.get("description", content["description"])
        raise WorkflowError(f"{where}: {place}{error.message}; expected {expected}")


CONFIG_SCHEMA = workflow.source_path("../schemas/config.schema.yaml")
check(config, CONFIG_SCHEMA, "config")
validate(config, CONFIG_SCHEMA)  # fills in the defaults

OUT = Path(config["output"])
# Not outputs of a rule, since Snakemake deletes those of a failed job, and these are what the next
# attempt goes on from: checkpoints, and the shards of tables.
STATE = Path(config.get("state", OUT / "state"))
CHECKPOINT = STATE / "run" / "checkpoints" / "last.ckpt"
SAMPLES = "samples"  # the name of the sample sheet's table


def read_sheet(path, schema):
    """Rows of a tab-separated table, each checked against the schema."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(
                csv.DictReader(file, delimiter="\t", restkey="extra", restval="")
            )
    except OSError as error:
        raise WorkflowError(f"{path}: cannot be read: {error.strerror}")
    if not rows:
        raise WorkflowError(f"{path}: expected a header line and rows, got none")
    for line, row in enumerate(rows, start=2):
        check(row, schema, f"{path}, line {line}")
    return rows


def species_fastas(rows):
    """Species -> its FASTA files, in the order of the sheet."""
    fastas = {}
    for row in rows:
        fastas.setdefault(row["species"], []).append(row["fasta"])
    if len(fastas) < 2:
        raise WorkflowError(
            f"{config['species_sheet']}: expected at least two species to tell apart, got "
            f"{', '.join(fastas)}"
        )
    return fastas


def table_inputs(paths, sheet, samples):
    """Table's name -> the files that it is of; a folder or pattern of the sheet is left to classify."""
    tables = {}
    for path in paths:
        name = Path(path).name.split(".")[0]
        if name in tables or (sheet and name == SAMPLES):
            raise WorkflowError(
                f"config: classify: {path}: another table is called {name}, too. "
                "Name both files in a sample sheet"
            )
        tables[name] = [path]
    if sheet:
        found = [Path(sheet).parent / row["path"] for row in samples]
        tables[SAMPLES] = [
            sheet,
            *(path for path in found if not set("*?[") & set(str(path))),
        ]
    return tables


def more_each_attempt(amount):
    """A resource that a job which ran out of it gets more of."""
    return lambda wildcards, attempt: amount * attempt


def data_options(wildcards, input):
    return (
        f"--data.species_set {input.species} --data.splits {input.splits}"
        f" --data.length {config['length']} --data.seed {config['seed']}"
    )


def classify_inputs(wildcards, input):
    """Arguments of `genomamba classify` that name its input, where the job finds it."""
    first = str(input.fasta[0])
    return ["--samples", first] if wildcards.table == SAMPLES and SHEET else [first]


FASTAS = species_fastas(
    read_sheet(
        config["species_sheet"], workflow.source_path("../schemas/species.schema.yaml")
    )
)
SHEET = config["sample_sheet"]
TABLES = table_inputs(
    config["classify"],
    SHEET,
    (
        read_sheet(SHEET, workflow.source_path("../schemas/samples.schema.yaml"))
        if SHEET
        else []
    ),
)
STORES = [OUT / "stores" / species for species in FASTAS]
