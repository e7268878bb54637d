rule train_downstream:
    input:
        unpack(PLAN.tasks.downstream_files),
        recordings=ancient(PLAN.tasks.trained_recordings),
        weights=PLAN.tasks.encoder_weights,
    output:
        model="results/{task}/downstream/seed-{seed}/model.safetensors",
        curve="results/{task}/downstream/seed-{seed}/curve.parquet",
    threads: THREADS
    resources:
        mem_mb=memory(3000, 4, network=True),
        runtime=minutes(1440),
        gpu=GPU,
    params:
        encoder=PLAN.tasks.encoder_options,
        type=PLAN.tasks.type,
        labels=PLAN.tasks.labels,
        balance=PLAN.tasks.balance,
        settings=PLAN.tasks.downstream_settings,
    shell:
        "speechprompt --log {log} train-downstream --train {input.train} --dev {input.dev}"
        " {params.encoder} --name {wildcards.task}"
        " --type {params.type} --labels {params.labels:q} --balance {params.balance}"
        " --settings {params.settings:q} --seed {wildcards.seed} --out {output.model} --curve {output.curve}"


rule score_downstream:
    input:
        model="results/{task}/downstream/seed-{seed}/model.safetensors",
        weights=PLAN.tasks.encoder_weights,
        scored=PLAN.tasks.downstream_scored,
        recordings=ancient(PLAN.tasks.scored_recordings),
        baseline="results/{task}/baseline/predictions.parquet",
    output:
        predictions="results/{task}/downstream/seed-{seed}/predictions.parquet",
        metrics="results/{task}/downstream/seed-{seed}/metrics.json",
    threads: THREADS
    resources:
        mem_mb=memory(2500, 4, network=True),
        runtime=minutes(240),
        gpu=GPU,
    params:
        encoder=PLAN.tasks.encoder_options,
    shell:
        "speechprompt --log {log} score-downstream {input.model} --scored {input.scored}"
        " {params.encoder} --name {wildcards.task}"
        " --baseline {input.baseline} --predictions {output.predictions} --metrics {output.metrics}"
