rule align_phones:
    input:
        manifest=MANIFEST,
        recordings=ancient(PLAN.corpora.split_recordings),
    output:
        alignments="results/alignments/{corpus}/{split}.parquet",
    wildcard_constraints:
        corpus=PLAN.corpora.of_kind("synthetic"),
    threads: THREADS
    resources:
        **needs(1000 + 500 * THREADS, minutes=120),
    params:
        settings=PLAN.corpora.settings,
        seed=CONFIG.seed,
    shell:
        "speechprompt --log {log} align-phones {input.manifest}"
        " --settings {params.settings:q} --seed {params.seed} --out {output.alignments}"


rule measure_units:
    input:
        unpack(PLAN.units.quality_files),
    output:
        quality="results/quality/{codebook}.json",
    wildcard_constraints:
        codebook=PLAN.units.measured(),
    resources:
        **needs(1500, 10, minutes=60),
    params:
        encoder=PLAN.models.encoder_of,
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
    resources:
        **needs(1000, minutes=30),
    shell:
        "speechprompt --log {log} compare-quality {input.measured} --out {output.markdown}"
        " --picture {output.picture}"
