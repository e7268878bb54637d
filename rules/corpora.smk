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
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        options=corpus_options,
        seed=CONFIG.seed,
        code=digest("corpora.synthetic"),
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
        mem_mb=2000,
        runtime=60,
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
        mem_mb=2000,
        runtime=240,
    params:
        options=corpus_options,
        seed=CONFIG.seed,
        max_rejected=CONFIG.max_rejected,
        code=digest("corpora.table"),
    shell:
        "speechprompt --log {log} prepare-csv {params.options} --seed {params.seed}"
        " --max-rejected {params.max_rejected} --out $(dirname {output.train})"


rule download_fsdd:
    output:
        recordings=directory("resources/corpora/{corpus}/recordings"),
    log:
        "logs/download_fsdd/{corpus}.log",
    benchmark:
        "benchmarks/download_fsdd/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_kind("fsdd"),
    retries: 2
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        code=digest("corpora.fsdd"),
    shell:
        "speechprompt --log {log} download-fsdd --out $(dirname {output.recordings})"


rule prepare_fsdd:
    input:
        recordings=fsdd_recordings,
    output:
        **MANIFESTS,
    log:
        "logs/prepare_fsdd/{corpus}.log",
    benchmark:
        "benchmarks/prepare_fsdd/{corpus}.tsv"
    wildcard_constraints:
        corpus=of_kind("fsdd"),
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        options=corpus_options,
        seed=CONFIG.seed,
        max_rejected=CONFIG.max_rejected,
        code=digest("corpora.fsdd"),
    shell:
        "speechprompt --log {log} prepare-fsdd {input.recordings:q} {params.options} --seed {params.seed}"
        " --max-rejected {params.max_rejected} --out $(dirname {output.train})"
