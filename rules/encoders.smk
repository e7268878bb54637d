rule pretrain_encoder:
    input:
        unpack(PLAN.models.pretraining_files),
        recordings=ancient(PLAN.models.heard_recordings),
    output:
        weights="results/encoders/{encoder}/model.safetensors",
        curve="results/encoders/{encoder}/curve.parquet",
    wildcard_constraints:
        encoder=PLAN.models.trained_encoders(),
    threads: PLAN.resources.lm_threads
    resources:
        **needs(8000, minutes=2880, network=True),
    params:
        settings=PLAN.models.pretraining_settings,
        start=PLAN.models.start_option,
        seed=CONFIG.seed,
    shell:
        "SPEECHPROMPT_COMPUTE_THREADS=$SPEECHPROMPT_LM_THREADS"
        " speechprompt --log {log:q} pretrain-encoder {input.units:q} --heard {input.heard:q}"
        " --settings {params.settings:q} {params.start} --seed {params.seed}"
        " --out {output.weights:q} --curve {output.curve:q}"
