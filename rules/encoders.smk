rule pretrain_encoder:
    input:
        unpack(pretraining_inputs),
    output:
        weights="results/encoders/{encoder}/model.safetensors",
        curve="results/encoders/{encoder}/curve.parquet",
    log:
        "logs/pretrain_encoder/{encoder}.log",
    benchmark:
        "benchmarks/pretrain_encoder/{encoder}.tsv"
    wildcard_constraints:
        encoder=one_of(pretrained_encoders()),
    conda:
        "../envs/speechprompt.yaml"
    threads: LM_THREADS
    resources:
        mem_mb=memory(8000 + GPU_HOST_MB),
        runtime=minutes(2880),
        gpu=GPU,
    params:
        settings=pretraining_settings,
        start=start_option,
        seed=CONFIG.seed,
        code=code_of("pretrain-encoder"),
    shell:
        "SPEECHPROMPT_COMPUTE_THREADS=$SPEECHPROMPT_LM_THREADS"
        " speechprompt --log {log} pretrain-encoder {input.units} --heard {input.heard}"
        " --settings {params.settings:q} {params.start} --seed {params.seed}"
        " --out {output.weights} --curve {output.curve}"
