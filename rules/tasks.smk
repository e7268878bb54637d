rule train_prompt:
    input:
        unpack(training_inputs),
    output:
        prompt=f"{SEED_FOLDER}/prompt.safetensors",
        curve=f"{SEED_FOLDER}/curve.parquet",
    log:
        "logs/train_prompt/{task}-{method}-{seed}.log",
    benchmark:
        "benchmarks/train_prompt/{task}-{method}-{seed}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=6000,
        runtime=1440,
    params:
        options=task_options,
        code=digest("train", "tasks.labels"),
    shell:
        "speechprompt --log {log} train-prompt --train {input.train} --dev {input.dev} --unit-lm {input.lm}"
        " --name {wildcards.task} {params.options} --seed {wildcards.seed}"
        " --out {output.prompt} --curve {output.curve}"


rule fit_floor:
    input:
        unpack(floor_inputs),
    output:
        predictions="results/{task}/floor/predictions.parquet",
        metrics="results/{task}/floor/metrics.json",
    log:
        "logs/fit_floor/{task}.log",
    benchmark:
        "benchmarks/fit_floor/{task}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        labels=task_labels,
        balance=task_balance,
        code=digest("floor", "evaluate", "tasks.labels"),
    shell:
        "speechprompt --log {log} fit-floor --train {input.train} --dev {input.dev} --scored {input.scored}"
        " --name {wildcards.task} --labels {params.labels:q} --balance {params.balance}"
        " --predictions {output.predictions} --metrics {output.metrics}"


rule score_prompt:
    input:
        prompt=f"{SEED_FOLDER}/prompt.safetensors",
        lm=task_lm,
        scored=scored_indexes,
        floor="results/{task}/floor/metrics.json",
    output:
        predictions=f"{SEED_FOLDER}/predictions.parquet",
        metrics=f"{SEED_FOLDER}/metrics.json",
    log:
        "logs/score_prompt/{task}-{method}-{seed}.log",
    benchmark:
        "benchmarks/score_prompt/{task}-{method}-{seed}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: THREADS
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        code=digest("decode", "evaluate", "tasks.labels"),
    shell:
        "speechprompt --log {log} score-prompt {input.prompt} --unit-lm {input.lm} --scored {input.scored}"
        " --name {wildcards.task} --floor {input.floor}"
        " --predictions {output.predictions} --metrics {output.metrics}"


rule plot_training:
    input:
        curve=f"{SEED_FOLDER}/curve.parquet",
        predictions=f"{SEED_FOLDER}/predictions.parquet",
    output:
        curve=report(
            f"{SEED_FOLDER}/learning_curve.png",
            caption="../workflow/report/learning_curve.rst",
            category="{task}",
            labels={"method": "{method}", "seed": "{seed}", "picture": "learning curve"},
        ),
        matrix=report(
            f"{SEED_FOLDER}/confusion_matrix.png",
            caption="../workflow/report/confusion_matrix.rst",
            category="{task}",
            labels={"method": "{method}", "seed": "{seed}", "picture": "confusion matrix"},
        ),
    log:
        "logs/plot_training/{task}-{method}-{seed}.log",
    benchmark:
        "benchmarks/plot_training/{task}-{method}-{seed}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=digest("report"),
    shell:
        "speechprompt --log {log} plot-training --curve {input.curve} --predictions {input.predictions}"
        " --title '{wildcards.task}, {wildcards.method}, seed {wildcards.seed}'"
        " --out-curve {output.curve} --out-matrix {output.matrix}"


rule publish_task:
    input:
        unpack(published_files),
    output:
        prompt="results/{task}/prompt.safetensors",
        predictions="results/{task}/predictions.parquet",
        metrics="results/{task}/metrics.json",
        score="results/{task}/acc.txt",
    log:
        "logs/publish_task/{task}.log",
    benchmark:
        "benchmarks/publish_task/{task}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        folders=published_folders,
        code=digest("evaluate"),
    shell:
        "speechprompt --log {log} publish-task {params.folders} --out $(dirname {output.score})"
