MANIFESTS = {
    split: f"results/manifests/{{corpus}}/{split}.parquet"
    for split in ("train", "valid", "test", "rejects")
}


rule synthesise_corpus:
    output:
        table="resources/corpora/{corpus}/corpus.csv",
    log:
        "logs/synthesise_corpus/{corpus}.log",
    benchmark:
        "benchmarks/synthesise_corpus/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_kind("synthetic"),
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(1000 + 500 * THREADS),
        runtime=minutes(120),
        disk_mb=synthesis_disk,
    params:
        settings=corpus_settings,
        seed=CONFIG.seed,
        code=code_of("synthesise-corpus"),
    shell:
        "speechprompt --log {log} synthesise-corpus --settings {params.settings:q} --seed {params.seed}"
        " --out $(dirname {output.table})"


rule download_corpus:
    output:
        record="resources/corpora/{corpus}/corpus.json",
    log:
        "logs/download_corpus/{corpus}.log",
    benchmark:
        "benchmarks/download_corpus/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_published(),
    retries: 2
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(1440),
        disk_mb=download_disk,
    params:
        source=download_options,
        code=code_of("download-corpus"),
    shell:
        "speechprompt --log {log} download-corpus {params.source} --out $(dirname {output.record})"


rule prepare_corpus:
    input:
        listed=corpus_listing,
    output:
        **MANIFESTS,
    log:
        "logs/prepare_corpus/{corpus}.log",
    benchmark:
        "benchmarks/prepare_corpus/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_audio(),
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(2000, 20),
        runtime=minutes(240),
    params:
        root=corpus_root,
        settings=corpus_settings,
        seed=CONFIG.seed,
        max_rejected=CONFIG.max_rejected,
        code=code_of("prepare-corpus"),
    shell:
        "speechprompt --log {log} prepare-corpus {params.root:q} --settings {params.settings:q}"
        " --seed {params.seed} --max-rejected {params.max_rejected} --out $(dirname {output.train})"
