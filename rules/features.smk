rule extract_features:
    input:
        manifest=MANIFEST,
        recordings=ancient(PLAN.corpora.split_recordings),
        weights=PLAN.models.encoder_weights,
    output:
        features=f"{FEATURES}/{PART}" if CONFIG.keep_features else temp(f"{FEATURES}/{PART}"),
    threads: THREADS
    resources:
        **needs(PLAN.resources.encoding_memory, minutes=240),
        disk_mb=PLAN.resources.encoding_disk,
        gpu=PLAN.resources.encoding_gpu,
    params:
        encoder=PLAN.models.encoder_options,
        speeds=PLAN.corpora.speeds,
    shell:
        "speechprompt --log {log:q} extract-features --manifest {input.manifest:q}"
        " {params.encoder} {params.speeds} --shard {wildcards.part} --n-shards {wildcards.parts}"
        " --out {output.features:q}"


rule sample_frames:
    input:
        features=PLAN.units.sampled_features,
    output:
        sample="results/features/{encoder}/sample.parquet",
    resources:
        **needs(1000, 0.2, minutes=60),
    params:
        n_frames=PLAN.units.sample_size,
        seed=CONFIG.seed,
    shell:
        "speechprompt --log {log:q} sample-frames {input.features:q} --frames {params.n_frames}"
        " --seed {params.seed} --out {output.sample:q}"
