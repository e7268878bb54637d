rule pretrain_unit_lm:
    input:
        unpack(lm_inputs),
    output:
        lm="results/lm/{lm}/model.safetensors",
        curve="results/lm/{lm}/curve.parquet",
    log:
        "logs/pretrain_unit_lm/{lm}.log",
    benchmark:
        "benchmarks/pretrain_unit_lm/{lm}.tsv"
    wildcard_constraints:
        lm=of_block("lm", UnitLmSettings),
    conda:
        "../envs/speechprompt.yaml"
    threads: LM_THREADS
    resources:
        mem_mb=lm_memory,
        runtime=minutes(1440),
        gpu=GPU,
    params:
        settings=lm_settings,
        seed=CONFIG.seed,
        code=code_of("pretrain-unit-lm"),
    shell:
        "SPEECHPROMPT_COMPUTE_THREADS=$SPEECHPROMPT_LM_THREADS"
        " speechprompt --log {log} pretrain-unit-lm {input.units} --settings {params.settings:q}"
        " --seed {params.seed} --out {output.lm} --curve {output.curve}"
