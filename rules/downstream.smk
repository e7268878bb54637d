rule train_downstream:
    input:
        unpack(downstream_inputs),
    output:
        model="results/{task}/downstream/seed-{seed}/model.safetensors",
        curve="results/{task}/downstream/seed-{seed}/curve.parquet",
    log:
        "logs/train_downstream/{task}-{seed}.log",
    benchmark:
        "benchmarks/train_downstream/{task}-{seed}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(3000 + GPU_HOST_MB, 4),
        runtime=minutes(1440),
        gpu=GPU,
    params:
        encoder=downstream_encoder,
        type=task_type,
        labels=task_labels,
        balance=task_balance,
        settings=downstream_settings,
        code=code_of("train-downstream"),
    shell:
        "speechprompt --log {log} train-downstream --train {input.train} --dev {input.dev}"
        " --encoder {params.encoder:q} --name {wildcards.task}"
        " --type {params.type} --labels {params.labels:q} --balance {params.balance}"
        " --settings {params.settings:q} --seed {wildcards.seed} --out {output.model} --curve {output.curve}"


rule score_downstream:
    input:
        model="results/{task}/downstream/seed-{seed}/model.safetensors",
        weights=task_encoder_weights,
        scored=downstream_scored,
        baseline="results/{task}/baseline/predictions.parquet",
    output:
        predictions="results/{task}/downstream/seed-{seed}/predictions.parquet",
        metrics="results/{task}/downstream/seed-{seed}/metrics.json",
    log:
        "logs/score_downstream/{task}-{seed}.log",
    benchmark:
        "benchmarks/score_downstream/{task}-{seed}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=memory(2500 + GPU_HOST_MB, 4),
        runtime=minutes(240),
        gpu=GPU,
    params:
        encoder=downstream_encoder,
        code=code_of("score-downstream"),
    shell:
        "speechprompt --log {log} score-downstream {input.model} --scored {input.scored}"
        " --encoder {params.encoder:q} --name {wildcards.task}"
        " --baseline {input.baseline} --predictions {output.predictions} --metrics {output.metrics}"
