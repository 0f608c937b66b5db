# Training, and what the trained classifier is worth on the frozen test windows.


rule train:
    input:
        stores=STORES,
        species=OUT / "species.tsv",
        splits=OUT / "splits.tsv",
        valid=OUT / "valid.parquet",
        hash=OUT / "valid.parquet.sha256",
    output:
        touch(OUT / "trained"),
    log:
        OUT / "logs" / "train.log",
    # A time limit costs an attempt: the next goes on from the last checkpoint.
    retries: 5
    conda:
        "../envs/genomamba.yaml"
    threads: 4
    resources:
        mem_mb=more_each_attempt(16000),
        runtime=1440,
        gpu=config["gpus"],
    params:
        configs=" ".join(f"--config {name}" for name in config["configs"]),
        data=data_options,
        options=config["training_options"],
        run=STATE / "run",
    shell:
        # `last` continues an interrupted run and starts a new one where there is none.
        "genomamba fit {params.configs} {params.data} --data.valid_manifest {input.valid:q}"
        " {params.options} --run {params.run:q} --ckpt_path last 2>> {log:q}"


rule evaluate:
    input:
        stores=STORES,
        species=OUT / "species.tsv",
        test=OUT / "test.parquet",
        hash=OUT / "test.parquet.sha256",
        trained=OUT / "trained",
    output:
        page=OUT / "evaluation.html",
        table=OUT / "evaluation.parquet",
        document=OUT / "evaluation.json",
    log:
        OUT / "logs" / "evaluate.log",
    retries: 2
    conda:
        "../envs/genomamba.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(8000),
        runtime=more_each_attempt(240),
        gpu=config["gpus"],
    params:
        checkpoint=CHECKPOINT,
        prefixes="--prefixes" if config["prefixes"] else "",
    shell:
        "genomamba evaluate --checkpoint {params.checkpoint:q} --species-set {input.species:q}"
        " --manifest {input.test:q} {params.prefixes} --output {output.page:q} 2> {log:q}"
