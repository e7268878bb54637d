rule train_downstream:
    input:
        unpack(PLAN.tasks.downstream_files),
        recordings=ancient(PLAN.tasks.trained_recordings),
        weights=PLAN.tasks.encoder_weights,
    output:
        model="results/{task}/downstream/seed-{seed}/model.safetensors",
        curve="results/{task}/downstream/seed-{seed}/curve.parquet",
    wildcard_constraints:
        task=PLAN.tasks.trained(),
    threads: THREADS
    resources:
        **needs(3000, 4, minutes=1440, network=True),
    params:
        encoder=PLAN.tasks.encoder_options,
        answers=PLAN.tasks.answers,
        balance=PLAN.tasks.balance,
        settings=PLAN.tasks.downstream_settings,
    shell:
        "speechprompt --log {log:q} train-downstream --train {input.train:q} --dev {input.dev:q}"
        " {params.encoder} --name={wildcards.task} {params.answers} --balance {params.balance}"
        " --settings {params.settings:q} --seed={wildcards.seed} --out {output.model:q} --curve {output.curve:q}"


rule score_downstream:
    input:
        model="results/{task}/downstream/seed-{seed}/model.safetensors",
        weights=PLAN.tasks.encoder_weights,
        scored=PLAN.tasks.downstream_scored,
        recordings=ancient(PLAN.tasks.scored_recordings),
        baselines=PLAN.tasks.baselines,
    output:
        predictions="results/{task}/downstream/seed-{seed}/predictions.parquet",
        metrics="results/{task}/downstream/seed-{seed}/metrics.json",
    wildcard_constraints:
        task=PLAN.tasks.trained(),
    threads: THREADS
    resources:
        **needs(2500, 4, minutes=240, network=True),
    params:
        encoder=PLAN.tasks.encoder_options,
    shell:
        "speechprompt --log {log:q} score-downstream {input.model:q} --scored {input.scored:q}"
        " {params.encoder} --name={wildcards.task}"
        " --baselines {input.baselines:q} --predictions {output.predictions:q} --metrics {output.metrics:q}"
