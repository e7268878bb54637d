rule extract_features:
    input:
        manifest="results/manifests/{corpus}/{split}.parquet",
        weights=encoder_weights,
    output:
        features=f"{FEATURES}/{PART}" if CONFIG.keep_features else temp(f"{FEATURES}/{PART}"),
    log:
        "logs/extract_features/{encoder}-{corpus}-{split}-{part}-of-{parts}.log",
    benchmark:
        "benchmarks/extract_features/{encoder}-{corpus}-{split}-{part}-of-{parts}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=3000,
        runtime=240,
    params:
        root=corpus_root,
        options=encoder_options,
        code=encoder_digest,
    shell:
        "speechprompt extract-features --manifest {input.manifest} --root {params.root:q}"
        " --shard {wildcards.part}/{wildcards.parts} {params.options} {COMPUTE}"
        " --out {output.features} 2> {log}"


rule sample_frames:
    input:
        features=sampled_features,
    output:
        sample="results/features/{encoder}/sample.parquet",
    log:
        "logs/sample_frames/{encoder}.log",
    benchmark:
        "benchmarks/sample_frames/{encoder}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        n_frames=sample_size,
        seed=CONFIG.seed,
        code=digest("features"),
    shell:
        "speechprompt sample-frames {input.features} --frames {params.n_frames}"
        " --seed {params.seed} --out {output.sample} 2> {log}"
