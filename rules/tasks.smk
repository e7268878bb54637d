rule train_prompt:
    input:
        unpack(PLAN.tasks.training_files),
        start=PLAN.tasks.start_file,
        compared=ancient(PLAN.tasks.compared),
    output:
        prompt=f"{SEED}/prompt.safetensors",
        curve=f"{SEED}/curve.parquet",
    wildcard_constraints:
        task=PLAN.tasks.trained(),
        method="prompt|finetune",
    threads: THREADS
    resources:
        **needs(PLAN.resources.training_memory, minutes=1440, network=True),
    params:
        task="{task}",
        start=PLAN.tasks.start,
        settings=PLAN.tasks.settings,
    shell:
        "speechprompt --log {log:q} train-prompt --train {input.train:q} --dev {input.dev:q} --unit-lm {input.lm:q}"
        " --name={params.task} --settings {params.settings:q} --seed={wildcards.seed} {params.start}"
        " --out {output.prompt:q} --curve {output.curve:q}"


rule fit_ngram_baseline:
    input:
        unpack(PLAN.tasks.baseline_files),
    output:
        predictions="results/{task}/baseline/ngram/predictions.parquet",
        metrics="results/{task}/baseline/ngram/metrics.json",
    wildcard_constraints:
        task=PLAN.tasks.trained("classification"),
    resources:
        **needs(2000, minutes=120),
    params:
        answers=PLAN.tasks.answers,
        balance=PLAN.tasks.balance,
        few=PLAN.tasks.few,
    shell:
        "speechprompt --log {log:q} fit-ngram-baseline --train {input.train:q} --dev {input.dev:q} --scored {input.scored:q}"
        " --name={wildcards.task} {params.answers} --balance {params.balance} {params.few}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q}"


rule choose_constant_baseline:
    input:
        unpack(PLAN.tasks.baseline_files),
    output:
        predictions="results/{task}/baseline/constant/predictions.parquet",
        metrics="results/{task}/baseline/constant/metrics.json",
    wildcard_constraints:
        task=PLAN.tasks.trained(),
    resources:
        **needs(1000, minutes=60),
    params:
        answers=PLAN.tasks.answers,
    shell:
        "speechprompt --log {log:q} choose-constant-baseline --train {input.train:q} --dev {input.dev:q}"
        " --scored {input.scored:q} --name={wildcards.task} {params.answers}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q}"


rule fit_acoustic_baseline:
    input:
        unpack(PLAN.tasks.downstream_files),
        scored=PLAN.tasks.downstream_scored,
        recordings=ancient(PLAN.tasks.trained_recordings),
        scored_recordings=ancient(PLAN.tasks.scored_recordings),
    output:
        predictions="results/{task}/baseline/{baseline}/predictions.parquet",
        metrics="results/{task}/baseline/{baseline}/metrics.json",
    wildcard_constraints:
        task=PLAN.tasks.trained("classification"),
        baseline="mfcc_mean|mfcc_dtw",
    resources:
        **needs(2000, minutes=240),
    params:
        labels=PLAN.tasks.labels,
        few=PLAN.tasks.few,
    shell:
        "speechprompt --log {log:q} fit-acoustic-baseline {wildcards.baseline} --train {input.train:q} --dev {input.dev:q}"
        " --scored {input.scored:q} --name={wildcards.task} {params.labels} {params.few}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q}"


rule score_prompt:
    input:
        unpack(PLAN.tasks.scored_files),
        prompt=f"{SEED}/prompt.safetensors",
        baselines=PLAN.tasks.baselines,
    output:
        predictions=f"{SEED}/predictions.parquet",
        metrics=f"{SEED}/metrics.json",
    wildcard_constraints:
        task=PLAN.tasks.trained(),
        method="prompt|finetune",
    threads: THREADS
    resources:
        **needs(2000, 4, minutes=240, network=True),
    params:
        task="{task}",
        baselines=PLAN.tasks.baseline_option,
        settings=PLAN.tasks.decoding,
    shell:
        "speechprompt --log {log:q} score-prompt {input.prompt:q} --unit-lm {input.lm:q} --scored {input.scored:q}"
        " --name={params.task} {params.baselines} --settings {params.settings:q}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q}"
