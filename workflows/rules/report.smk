# All of it as one page that stands alone.


rule report:
    input:
        stores=STORES,
        species=OUT / "species.tsv",
        splits=OUT / "splits.tsv",
        manifests=expand(OUT / "{split}.parquet", split=("valid", "test")),
        hashes=expand(OUT / "{split}.parquet.sha256", split=("valid", "test")),
        trained=OUT / "trained",
        evaluation=OUT / "evaluation.json",
        tables=expand(OUT / "predictions" / "{table}.tsv", table=TABLES),
        tracks=expand(OUT / "predictions" / "{table}.track.parquet", table=TABLES),
    output:
        OUT / "report.html",
    log:
        OUT / "logs" / "report.log",
    retries: 1
    conda:
        "../envs/genomamba.yaml"
    resources:
        mem_mb=more_each_attempt(4000),
        runtime=more_each_attempt(60),
    params:
        run=STATE / "run",
    shell:
        "genomamba report --species-set {input.species:q} --splits {input.splits:q}"
        " --manifests {input.manifests:q} --run {params.run:q} --evaluation {input.evaluation:q}"
        " --predictions {input.tables:q} --tracks {input.tracks:q} --output {output:q} 2> {log:q}"
