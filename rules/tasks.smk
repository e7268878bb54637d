rule train_prompt:
    input:
        unpack(PLAN.tasks.training_files),
    output:
        prompt=f"{SEED}/prompt.safetensors",
        curve=f"{SEED}/curve.parquet",
    wildcard_constraints:
        method="prompt|finetune",
    threads: THREADS
    resources:
        mem_mb=PLAN.resources.training_memory,
        runtime=minutes(1440),
        gpu=GPU,
    params:
        task="{task}",
        settings=PLAN.tasks.settings,
    shell:
        "speechprompt --log {log} train-prompt --train {input.train} --dev {input.dev} --unit-lm {input.lm}"
        " --name {params.task} --settings {params.settings:q} --seed {wildcards.seed}"
        " --out {output.prompt} --curve {output.curve}"


rule fit_ngram_baseline:
    input:
        unpack(PLAN.tasks.baseline_files),
    output:
        predictions="results/{task}/baseline/predictions.parquet",
        metrics="results/{task}/baseline/metrics.json",
    wildcard_constraints:
        task=PLAN.tasks.of_type("classification"),
    resources:
        mem_mb=memory(2000),
        runtime=minutes(120),
    params:
        type=PLAN.tasks.type,
        labels=PLAN.tasks.labels,
        balance=PLAN.tasks.balance,
    shell:
        "speechprompt --log {log} fit-ngram-baseline --train {input.train} --dev {input.dev} --scored {input.scored}"
        " --name {wildcards.task} --type {params.type} --labels {params.labels:q} --balance {params.balance}"
        " --predictions {output.predictions} --metrics {output.metrics}"


rule choose_constant_baseline:
    input:
        unpack(PLAN.tasks.baseline_files),
    output:
        predictions="results/{task}/baseline/predictions.parquet",
        metrics="results/{task}/baseline/metrics.json",
    wildcard_constraints:
        task=PLAN.tasks.of_type("transcription", "slot_filling"),
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        type=PLAN.tasks.type,
        labels=PLAN.tasks.labels,
    shell:
        "speechprompt --log {log} choose-constant-baseline --train {input.train} --dev {input.dev}"
        " --scored {input.scored} --name {wildcards.task} --type {params.type} --labels {params.labels:q}"
        " --predictions {output.predictions} --metrics {output.metrics}"


rule score_prompt:
    input:
        unpack(PLAN.tasks.scored_files),
        prompt=f"{SEED}/prompt.safetensors",
        lm=PLAN.tasks.lm,
        baseline="results/{task}/baseline/predictions.parquet",
    output:
        predictions=f"{SEED}/predictions.parquet",
        metrics=f"{SEED}/metrics.json",
    wildcard_constraints:
        method="prompt|finetune",
    threads: THREADS
    resources:
        mem_mb=memory(2000, 4, network=True),
        runtime=minutes(240),
        gpu=GPU,
    params:
        task="{task}",
        baseline=PLAN.tasks.baseline_option,
        settings=PLAN.tasks.decoding,
    shell:
        "speechprompt --log {log} score-prompt {input.prompt} --unit-lm {input.lm} --scored {input.scored}"
        " --name {params.task} {params.baseline} --settings {params.settings:q}"
        " --predictions {output.predictions} --metrics {output.metrics}"
