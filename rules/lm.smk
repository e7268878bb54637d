rule pretrain_unit_lm:
    input:
        unpack(PLAN.models.lm_files),
    output:
        lm=UNIT_LM,
        curve="results/lm/{lm}/curve.parquet",
    wildcard_constraints:
        lm=PLAN.models.of_kind("lm", "pretrained"),
    threads: PLAN.resources.lm_threads
    resources:
        **needs(PLAN.resources.lm_memory, minutes=1440, network=True),
    params:
        settings=PLAN.models.lm_settings,
        start=PLAN.models.start_option,
        seed=CONFIG.seed,
    shell:
        "SPEECHPROMPT_COMPUTE_THREADS=$SPEECHPROMPT_LM_THREADS"
        " speechprompt --log {log:q} pretrain-unit-lm {input.units:q} --settings {params.settings:q}"
        " {params.start} --seed {params.seed} --out {output.lm:q} --curve {output.curve:q}"
