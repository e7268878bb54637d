# One task trained again and again with single settings changed.


use rule train_prompt as train_swept with:
    input:
        unpack(PLAN.sweep.training_files),
        start=PLAN.sweep.start_file,
        compared=ancient(PLAN.sweep.compared),
    output:
        prompt=f"results/sweep/{POINT}/seed-{{seed}}/prompt.safetensors",
        curve=f"results/sweep/{POINT}/seed-{{seed}}/curve.parquet",
    params:
        task=PLAN.sweep.task(),
        start=PLAN.sweep.start,
        settings=PLAN.sweep.settings,


use rule score_prompt as score_swept with:
    input:
        unpack(PLAN.sweep.scored_files),
        prompt=f"results/sweep/{POINT}/seed-{{seed}}/prompt.safetensors",
    output:
        predictions=f"results/sweep/{POINT}/seed-{{seed}}/predictions.parquet",
        metrics=f"results/sweep/{POINT}/seed-{{seed}}/metrics.json",
    params:
        task=PLAN.sweep.task(),
        baselines="",
        settings=PLAN.sweep.decoding,


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
        pdfs=[str(Path(picture).with_suffix(".pdf")) for picture in PLAN.sweep.pictures()],
    resources:
        **needs(1000, minutes=30),
    params:
        points=PLAN.sweep.points,
        title=PLAN.sweep.task(),
    shell:
        "speechprompt --log {log:q} gather-sweep {input.metrics:q} --points {params.points:q}"
        " '--title={params.title}, sweep' --out {output.table:q}"
