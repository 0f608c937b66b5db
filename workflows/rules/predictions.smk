# Each table's records are divided among jobs, and put together again.


rule classify:
    input:
        fasta=lambda wildcards: TABLES[wildcards.table],
        trained=OUT / "trained",
    output:
        touch(OUT / "predictions" / "{table}.shards" / "{scatteritem}.done"),
    log:
        OUT / "logs" / "classify.{table}.{scatteritem}.log",
    retries: 3
    conda:
        "../envs/genomamba.yaml"
    threads: 2
    resources:
        mem_mb=more_each_attempt(8000),
        runtime=more_each_attempt(240),
        gpu=config["gpus"],
    params:
        input=classify_inputs,
        checkpoint=CHECKPOINT,
        options=config["classify_options"],
        shard=lambda wildcards: wildcards.scatteritem.replace("-of-", "/"),
        table=lambda wildcards: STATE / "classify" / f"{wildcards.table}.tsv",
        track=lambda wildcards: STATE / "classify" / f"{wildcards.table}.track.parquet",
    shell:
        # 3: done, with --max-bases halved, which the journal says.
        "mkdir -p $(dirname {params.table:q}) && {{ genomamba classify {params.input:q}"
        " --checkpoint {params.checkpoint:q} --shard {params.shard} --output {params.table:q}"
        " --track {params.track:q} {params.options} 2> {log:q} || test $? -eq 3; }}"


rule merge:
    input:
        gather.shards(OUT / "predictions" / "{{table}}.shards" / "{scatteritem}.done"),
    output:
        table=OUT / "predictions" / "{table}.tsv",
        track=OUT / "predictions" / "{table}.track.parquet",
    log:
        OUT / "logs" / "merge.{table}.log",
    retries: 1
    conda:
        "../envs/genomamba.yaml"
    resources:
        mem_mb=more_each_attempt(4000),
        runtime=more_each_attempt(60),
    params:
        table=lambda wildcards: STATE / "classify" / f"{wildcards.table}.tsv",
        track=lambda wildcards: STATE / "classify" / f"{wildcards.table}.track.parquet",
    shell:
        # Tables that are there already are from an attempt that died between merging and moving.
        "{{ test -e {params.table:q} -a ! -d {params.table:q}.parts"
        " || genomamba merge {params.table:q} 2> {log:q} || test $? -eq 3; }}"
        " && mv {params.track:q} {output.track:q} && mv {params.table:q} {output.table:q}"
