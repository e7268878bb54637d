rule plot_curve:
    input:
        curve=f"{SEED}/curve.parquet",
    output:
        curve=report(
            f"{SEED}/learning_curve.svg",
            caption="../src/speechprompt/report/data/overview.learning_curve.rst",
            category="{task}",
            labels={"method": "{method}", "seed": "{seed}", "picture": "learning curve"},
        ),
        pdf=f"{SEED}/learning_curve.pdf",
    resources:
        **needs(1000, minutes=30),
    params:
        title="{task}, {method}, seed {seed}",
    shell:
        "speechprompt --log {log:q} plot-curve {input.curve:q} --out {output.curve:q}"
        " --title={params.title:q}"


use rule plot_curve as plot_lm_curve with:
    input:
        curve="results/lm/{lm}/curve.parquet",
    output:
        curve=report(
            "results/lm/{lm}/learning_curve.svg",
            caption="../src/speechprompt/report/data/overview.learning_curve.rst",
            category="models",
            labels={"method": "pre-training", "seed": "", "picture": "learning curve of {lm}"},
        ),
        pdf="results/lm/{lm}/learning_curve.pdf",
    params:
        title="unit LM {lm}",


use rule plot_curve as plot_encoder_curve with:
    input:
        curve="results/encoders/{encoder}/curve.parquet",
    output:
        curve=report(
            "results/encoders/{encoder}/learning_curve.svg",
            caption="../src/speechprompt/report/data/overview.learning_curve.rst",
            category="models",
            labels={
                "method": "pre-training",
                "seed": "",
                "picture": "learning curve of {encoder}",
            },
        ),
        pdf="results/encoders/{encoder}/learning_curve.pdf",
    params:
        title="encoder {encoder}",


rule plot_confusion:
    input:
        predictions=f"{SEED}/predictions.parquet",
    output:
        matrix=report(
            f"{SEED}/confusion_matrix.svg",
            caption="../src/speechprompt/report/data/overview.confusion_matrix.rst",
            category="{task}",
            labels={"method": "{method}", "seed": "{seed}", "picture": "confusion matrix"},
        ),
        pdf=f"{SEED}/confusion_matrix.pdf",
    wildcard_constraints:
        task=PLAN.tasks.of_type("classification"),
    resources:
        **needs(1000, minutes=30),
    shell:
        "speechprompt --log {log:q} plot-confusion {input.predictions:q} --out {output.matrix:q}"
        " '--title={wildcards.task}, {wildcards.method}, seed {wildcards.seed}'"


rule plot_error_by_length:
    input:
        predictions=PLAN.results.compared_predictions,
    output:
        picture=report(
            "results/{task}/error_by_length.svg",
            caption="../src/speechprompt/report/data/overview.error_by_length.rst",
            category="{task}",
            labels={"method": "all", "seed": "all", "picture": "error by length"},
        ),
        pdf="results/{task}/error_by_length.pdf",
        table="results/{task}/error_by_length.parquet",
    wildcard_constraints:
        task=PLAN.tasks.of_type("transcription", "slot_filling"),
    resources:
        **needs(1000, 20, minutes=30),
    shell:
        "speechprompt --log {log:q} plot-error-by-length {input.predictions:q} --out {output.picture:q}"
        " --title={wildcards.task}"


rule summarise_seeds:
    input:
        metrics=PLAN.results.metrics,
        predictions=PLAN.results.predictions,
        baselines=PLAN.tasks.baselines,
    output:
        metrics="results/{task}/{method}/metrics.json",
    resources:
        **needs(1500, 20, minutes=30),
    params:
        folders=PLAN.results.seed_folders,
    shell:
        "speechprompt --log {log:q} summarise-seeds {params.folders} --baselines {input.baselines:q}"
        " --out {output.metrics:q}"


rule describe_model:
    input:
        unpack(PLAN.tasks.answering_files),
        scores=PLAN.results.scores_of_answering,
    output:
        model="results/{task}/model.json",
    resources:
        **needs(1000, minutes=30),
    params:
        hearing=PLAN.tasks.hearing,
        settings=PLAN.tasks.decoding,
    shell:
        "speechprompt --log {log:q} describe-model {input.prompt:q} --name={wildcards.task} --unit-lm {input.lm:q}"
        " {params.hearing} --settings {params.settings:q} --out {output.model:q}"


rule measure_robustness:
    input:
        unpack(PLAN.tasks.answering_files),
        model="results/{task}/model.json",
        finished="results/{task}/prompt.safetensors",
        manifest=PLAN.tasks.main_manifest,
        recordings=ancient(PLAN.tasks.main_recordings),
    output:
        table="results/{task}/robustness.parquet",
    wildcard_constraints:
        task=PLAN.tasks.that_hear(),
    threads: THREADS
    resources:
        **needs(2500, 4, minutes=240, network=True),
    shell:
        'speechprompt --log {log:q} measure-robustness "$(dirname {input.model:q})"'
        " --manifest {input.manifest:q} --out {output.table:q}"


rule plot_robustness:
    input:
        table="results/{task}/robustness.parquet",
    output:
        picture=report(
            "results/{task}/robustness.svg",
            caption="../src/speechprompt/report/data/overview.robustness.rst",
            category="{task}",
            labels={"method": "its own", "seed": "first", "picture": "robustness"},
        ),
        pdf="results/{task}/robustness.pdf",
    wildcard_constraints:
        task=PLAN.tasks.that_hear(),
    resources:
        **needs(1000, minutes=30),
    shell:
        "speechprompt --log {log:q} plot-robustness {input.table:q} --out {output.picture:q}"
        " --title={wildcards.task}"


rule finish_task:
    input:
        unpack(PLAN.results.finished_sources),
        scores=PLAN.results.scores_beside,
    output:
        file="results/{task}/{file}",
    wildcard_constraints:
        file=PLAN.results.finished_files(),
    resources:
        **needs(600, 3, minutes=30),
    shell:
        "speechprompt --log {log:q} finish-task {input.source:q} --out {output.file:q}"


rule write_table:
    input:
        metrics=PLAN.results.all_metrics(),
    output:
        markdown=report(
            "results/table.md",
            caption="../workflow/report/table.rst",
            category="results",
        ),
        parquet="results/table.parquet",
    resources:
        **needs(1000, 20, minutes=30),
    params:
        reported=PLAN.results.reported,
    shell:
        "speechprompt --log {log:q} write-table {input.metrics:q} --reported {params.reported:q}"
        " --out {output.markdown:q}"


rule plot_unit_statistics:
    input:
        index="results/units/{codebook}/{corpus}/train/index.json",
        parts=PLAN.units.train_parts,
    output:
        picture=report(
            "results/units/{codebook}/{corpus}/statistics.svg",
            caption="../src/speechprompt/report/data/overview.unit_statistics.rst",
            category="units",
            labels={"codebook": "{codebook}", "corpus": "{corpus}", "picture": "usage"},
        ),
        pdf="results/units/{codebook}/{corpus}/statistics.pdf",
        table="results/units/{codebook}/{corpus}/statistics.parquet",
    resources:
        **needs(2000, minutes=30),
    params:
        title="{codebook}, {corpus}, train",
    shell:
        "speechprompt --log {log:q} plot-unit-statistics {input.index:q} --out {output.picture:q}"
        " --title={params.title:q}"


rule plot_codebook:
    input:
        codebook=CODEBOOK,
        statistics=PLAN.results.unit_statistics,
    output:
        picture=report(
            "results/codebooks/{codebook}.svg",
            caption="../src/speechprompt/report/data/overview.codebook.rst",
            category="units",
            labels={"codebook": "{codebook}", "corpus": "", "picture": "map"},
        ),
        pdf="results/codebooks/{codebook}.pdf",
    wildcard_constraints:
        codebook=PLAN.results.mapped(),
    resources:
        **needs(2000, minutes=30),
    params:
        title="codebook {codebook}",
    shell:
        "speechprompt --log {log:q} plot-codebook {input.codebook:q} --statistics {input.statistics:q}"
        " --out {output.picture:q} --title={params.title:q}"


rule choose_examples:
    input:
        unpack(PLAN.results.example_files),
    output:
        examples="results/{task}/examples.parquet",
    wildcard_constraints:
        task=PLAN.results.listened(),
    resources:
        **needs(2000, 4, minutes=30),
    params:
        options=PLAN.results.example_options,
    shell:
        "speechprompt --log {log:q} choose-examples {input.predictions:q} --index {input.index:q} {params.options}"
        " --out {output.examples:q}"


rule write_overview:
    input:
        beside=PLAN.results.overview_files(),
        table="results/table.parquet",
        metrics=PLAN.results.all_metrics(),
        pictures=PLAN.results.pictures(),
    output:
        page=report(
            "results/overview.html",
            caption="../workflow/report/overview.rst",
            category="results",
        ),
    resources:
        **needs(1000, minutes=30),
    params:
        folder=PLAN.results.folder,
        setup=PLAN.results.setup,
        name=internals.setup_name(workflow),
    shell:
        "speechprompt --log {log:q} write-overview {params.folder} --setup {params.setup:q} --name={params.name:q}"
        " --out {output.page:q}"


use rule write_overview as write_task_overview with:
    input:
        unpack(PLAN.results.task_page_files),
    output:
        page="results/{task}/overview.html",
    wildcard_constraints:
        task=PLAN.results.tasks(),
    params:
        folder=PLAN.results.task_page_folder,
        setup=PLAN.results.task_page_setup,
        name=internals.setup_name(workflow),
