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
        options=corpus_options,
        seed=CONFIG.seed,
        code=synthetic_digest,
    shell:
        "speechprompt --log {log} synthesise-corpus {params.options} --seed {params.seed}"
        " --out $(dirname {output.table})"


rule prepare_synthetic:
    input:
        table="resources/corpora/{corpus}/corpus.csv",
    output:
        **MANIFESTS,
    log:
        "logs/prepare_synthetic/{corpus}.log",
    benchmark:
        "benchmarks/prepare_synthetic/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_kind("synthetic"),
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(60),
    params:
        seed=CONFIG.seed,
        max_rejected=CONFIG.max_rejected,
        code=digest("corpora.table"),
    shell:
        "speechprompt --log {log} prepare-synthetic $(dirname {input.table}) --seed {params.seed}"
        " --max-rejected {params.max_rejected} --out $(dirname {output.train})"


rule prepare_csv:
    input:
        table=corpus_table,
    output:
        **MANIFESTS,
    log:
        "logs/prepare_csv/{corpus}.log",
    benchmark:
        "benchmarks/prepare_csv/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_kind("csv"),
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(240),
    params:
        options=corpus_options,
        seed=CONFIG.seed,
        max_rejected=CONFIG.max_rejected,
        code=digest("corpora.table"),
    shell:
        "speechprompt --log {log} prepare-csv {params.options} --seed {params.seed}"
        " --max-rejected {params.max_rejected} --out $(dirname {output.train})"


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
        code=digest("corpora.published.collect"),
    shell:
        "speechprompt --log {log} download-corpus {params.source} --out $(dirname {output.record})"


rule prepare_corpus:
    input:
        record="resources/corpora/{corpus}/corpus.json",
    output:
        **MANIFESTS,
    log:
        "logs/prepare_corpus/{corpus}.log",
    benchmark:
        "benchmarks/prepare_corpus/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_published(),
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(2000),
        runtime=minutes(240),
    params:
        verb=prepare_verb,
        root=corpus_root,
        options=prepare_options,
        seed=CONFIG.seed,
        max_rejected=CONFIG.max_rejected,
        code=prepare_digest,
    shell:
        "speechprompt --log {log} {params.verb} {params.root:q} {params.options} --seed {params.seed}"
        " --max-rejected {params.max_rejected} --out $(dirname {output.train})"
