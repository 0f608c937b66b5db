# FASTA files -> stores, splits and frozen windows.


rule encode:
    input:
        lambda wildcards: FASTAS[wildcards.species],
    output:
        directory(OUT / "stores" / "{species}"),
    log:
        OUT / "logs" / "encode.{species}.log",
    retries: 1
    conda:
        "../envs/genomamba.yaml"
    resources:
        mem_mb=more_each_attempt(4000),
        runtime=more_each_attempt(120),
    shell:
        "genomamba prepare encode {input:q} --output {output:q} --species {wildcards.species:q}"
        " 2> {log:q}"


rule species_set:
    input:
        STORES,
    output:
        OUT / "species.tsv",
    log:
        OUT / "logs" / "species_set.log",
    retries: 1
    conda:
        "../envs/genomamba.yaml"
    resources:
        mem_mb=more_each_attempt(500),
        runtime=more_each_attempt(5),
    params:
        rows="".join(f"{species}\tstores/{species}\n" for species in FASTAS),
    shell:
        "printf 'species\\tstore\\n%s' {params.rows:q} > {output:q} 2> {log:q}"


rule split:
    input:
        stores=STORES,
        species=OUT / "species.tsv",
    output:
        OUT / "splits.tsv",
    log:
        OUT / "logs" / "split.log",
    retries: 1
    conda:
        "../envs/genomamba.yaml"
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(30),
    params:
        rule=config["split"],
    shell:
        "genomamba prepare split {input.species:q} --output {output:q} {params.rule} 2> {log:q}"


rule manifest:
    input:
        stores=STORES,
        species=OUT / "species.tsv",
        splits=OUT / "splits.tsv",
    output:
        manifest=OUT / "{split}.parquet",
        hash=OUT / "{split}.parquet.sha256",
    log:
        OUT / "logs" / "manifest.{split}.log",
    wildcard_constraints:
        split="valid|test",
    retries: 1
    conda:
        "../envs/genomamba.yaml"
    resources:
        mem_mb=more_each_attempt(4000),
        runtime=more_each_attempt(60),
    params:
        length=config["length"],
        windows=config["evaluation_windows"],
        seed=config["seed"],
    shell:
        "genomamba prepare manifest {input.species:q} --splits {input.splits:q}"
        " --split {wildcards.split} --length {params.length} --windows {params.windows}"
        " --seed {params.seed} --output {output.manifest:q} 2> {log:q}"
