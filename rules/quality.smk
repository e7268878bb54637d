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
        "speechprompt --log {log:q} align-phones {input.manifest:q}"
        " --settings {params.settings:q} --seed {params.seed} --out {output.alignments:q}"


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
        "speechprompt --log {log:q} measure-units {input.index:q} --alignments {input.alignments:q}"
        " --encoder={params.encoder} --out {output.quality:q}"


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
            "results/quality/quality.svg",
            caption="../src/speechprompt/report/data/overview.quality.rst",
            category="units",
        ),
        pdf="results/quality/quality.pdf",
    resources:
        **needs(1000, minutes=30),
    shell:
        "speechprompt --log {log:q} compare-quality {input.measured:q} --out {output.markdown:q}"
        " --picture {output.picture:q}"
