rule align_phones:
    input:
        manifest=MANIFEST,
        recordings=ancient(PLAN.corpora.split_recordings),
    output:
        alignments="results/alignments/{corpus}/{split}.parquet",
    log:
        "logs/align_phones/{corpus}-{split}.log",
    benchmark:
        "benchmarks/align_phones/{corpus}-{split}.tsv"
    wildcard_constraints:
        corpus=PLAN.corpora.of_kind("synthetic"),
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(1000 + 500 * THREADS),
        runtime=minutes(120),
    params:
        settings=PLAN.corpora.settings,
        seed=CONFIG.seed,
        code=code_of("align-phones"),
    shell:
        "speechprompt --log {log} align-phones {input.manifest}"
        " --settings {params.settings:q} --seed {params.seed} --out {output.alignments}"


rule measure_units:
    input:
        unpack(PLAN.units.quality_files),
    output:
        quality="results/quality/{codebook}.json",
    log:
        "logs/measure_units/{codebook}.log",
    benchmark:
        "benchmarks/measure_units/{codebook}.tsv"
    wildcard_constraints:
        codebook=PLAN.units.measured(),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 10),
        runtime=minutes(60),
    params:
        encoder=PLAN.models.encoder_of,
        code=code_of("measure-units"),
    shell:
        "speechprompt --log {log} measure-units {input.index} --alignments {input.alignments}"
        " --encoder {params.encoder} --out {output.quality}"


rule compare_quality:
    input:
        measured=PLAN.units.qualities(),
    output:
        markdown=report(
            "results/quality/table.md",
            caption="../src/speechprompt/report/data/overview.quality.rst",
            category="units",
        ),
        parquet="results/quality/table.parquet",
        picture=report(
            "results/quality/quality.png",
            caption="../src/speechprompt/report/data/overview.quality.rst",
            category="units",
        ),
    log:
        "logs/compare_quality.log",
    benchmark:
        "benchmarks/compare_quality.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        code=code_of("compare-quality"),
    shell:
        "speechprompt --log {log} compare-quality {input.measured} --out {output.markdown}"
        " --picture {output.picture}"
