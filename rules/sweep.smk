# One task trained again and again with single settings changed.


rule train_swept:
    input:
        unpack(swept_inputs),
    output:
        prompt=f"{SWEEP_FOLDER}/prompt.safetensors",
        curve=f"{SWEEP_FOLDER}/curve.parquet",
    log:
        f"logs/train_swept/{SWEEP.wildcard_pattern}/seed-{{seed}}.log",
    benchmark:
        f"benchmarks/train_swept/{SWEEP.wildcard_pattern}/seed-{{seed}}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=training_memory,
        runtime=minutes(1440),
        gpu=GPU,
    params:
        task=sweep_task(),
        settings=swept_settings,
        code=code_of("train-prompt"),
    shell:
        "speechprompt --log {log} train-prompt --train {input.train} --dev {input.dev} --unit-lm {input.lm}"
        " --name {params.task} --settings {params.settings:q} --seed {wildcards.seed}"
        " --out {output.prompt} --curve {output.curve}"


rule score_swept:
    input:
        prompt=f"{SWEEP_FOLDER}/prompt.safetensors",
        lm=swept_lm,
        scored=swept_scored,
    output:
        predictions=f"{SWEEP_FOLDER}/predictions.parquet",
        metrics=f"{SWEEP_FOLDER}/metrics.json",
    log:
        f"logs/score_swept/{SWEEP.wildcard_pattern}/seed-{{seed}}.log",
    benchmark:
        f"benchmarks/score_swept/{SWEEP.wildcard_pattern}/seed-{{seed}}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(2000 + GPU_HOST_MB, 4),
        runtime=minutes(240),
        gpu=GPU,
    params:
        task=sweep_task(),
        settings=swept_decoding,
        code=code_of("score-prompt"),
    shell:
        "speechprompt --log {log} score-prompt {input.prompt} --unit-lm {input.lm} --scored {input.scored}"
        " --name {params.task} --settings {params.settings:q}"
        " --predictions {output.predictions} --metrics {output.metrics}"


rule gather_sweep:
    input:
        metrics=sweep_metrics(),
    output:
        table="results/sweep/sweep.parquet",
        pictures=report(
            sweep_pictures(),
            caption="../workflow/report/sweep.rst",
            category="sweep",
        ),
    log:
        "logs/gather_sweep.log",
    benchmark:
        "benchmarks/gather_sweep.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        points=sweep_points(),
        title=sweep_task(),
        code=code_of("gather-sweep"),
    shell:
        "speechprompt --log {log} gather-sweep {input.metrics} --points {params.points:q}"
        " --title '{params.title}, sweep' --out {output.table}"
