# One task trained again and again with single settings changed.


rule train_swept:
    input:
        unpack(PLAN.sweep.training_files),
    output:
        prompt=f"results/sweep/{POINT}/seed-{{seed}}/prompt.safetensors",
        curve=f"results/sweep/{POINT}/seed-{{seed}}/curve.parquet",
    threads: THREADS
    resources:
        mem_mb=PLAN.resources.training_memory,
        runtime=minutes(1440),
        gpu=GPU,
    params:
        task=PLAN.sweep.task(),
        settings=PLAN.sweep.settings,
    shell:
        "speechprompt --log {log} train-prompt --train {input.train} --dev {input.dev} --unit-lm {input.lm}"
        " --name {params.task} --settings {params.settings:q} --seed {wildcards.seed}"
        " --out {output.prompt} --curve {output.curve}"


rule score_swept:
    input:
        unpack(PLAN.sweep.scored_files),
        prompt=f"results/sweep/{POINT}/seed-{{seed}}/prompt.safetensors",
        lm=UNIT_LM,
    output:
        predictions=f"results/sweep/{POINT}/seed-{{seed}}/predictions.parquet",
        metrics=f"results/sweep/{POINT}/seed-{{seed}}/metrics.json",
    threads: THREADS
    resources:
        mem_mb=memory(2000, 4, network=True),
        runtime=minutes(240),
        gpu=GPU,
    params:
        task=PLAN.sweep.task(),
        settings=PLAN.sweep.decoding,
    shell:
        "speechprompt --log {log} score-prompt {input.prompt} --unit-lm {input.lm} --scored {input.scored}"
        " --name {params.task} --settings {params.settings:q}"
        " --predictions {output.predictions} --metrics {output.metrics}"


rule gather_sweep:
    input:
        metrics=PLAN.sweep.metrics(),
    output:
        table="results/sweep/sweep.parquet",
        pictures=[
            report(
                picture,
                caption=f"../src/speechprompt/report/data/overview.{Path(picture).stem}.rst",
                category="sweep",
            )
            for picture in PLAN.sweep.pictures()
        ],
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        points=PLAN.sweep.points(),
        title=PLAN.sweep.task(),
    shell:
        "speechprompt --log {log} gather-sweep {input.metrics} --points {params.points:q}"
        " --title '{params.title}, sweep' --out {output.table}"
