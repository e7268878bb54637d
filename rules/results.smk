rule plot_curve:
    input:
        curve=f"{SEED}/curve.parquet",
    output:
        curve=report(
            f"{SEED}/learning_curve.png",
            caption="../src/speechprompt/report/data/overview.learning_curve.rst",
            category="{task}",
            labels={"method": "{method}", "seed": "{seed}", "picture": "learning curve"},
        ),
    log:
        "logs/plot_curve/{task}-{method}-{seed}.log",
    benchmark:
        "benchmarks/plot_curve/{task}-{method}-{seed}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        title="{task}, {method}, seed {seed}",
        code=code_of("plot-curve"),
    shell:
        "speechprompt --log {log} plot-curve {input.curve} --out {output.curve}"
        " --title {params.title:q}"


use rule plot_curve as plot_lm_curve with:
    input:
        curve="results/lm/{lm}/curve.parquet",
    output:
        curve=report(
            "results/lm/{lm}/learning_curve.png",
            caption="../src/speechprompt/report/data/overview.learning_curve.rst",
            category="models",
            labels={"method": "pre-training", "seed": "", "picture": "learning curve of {lm}"},
        ),
    log:
        "logs/plot_lm_curve/{lm}.log",
    benchmark:
        "benchmarks/plot_lm_curve/{lm}.tsv"
    params:
        title="unit LM {lm}",
        code=code_of("plot-curve"),


use rule plot_curve as plot_encoder_curve with:
    input:
        curve="results/encoders/{encoder}/curve.parquet",
    output:
        curve=report(
            "results/encoders/{encoder}/learning_curve.png",
            caption="../src/speechprompt/report/data/overview.learning_curve.rst",
            category="models",
            labels={
                "method": "pre-training",
                "seed": "",
                "picture": "learning curve of {encoder}",
            },
        ),
    log:
        "logs/plot_encoder_curve/{encoder}.log",
    benchmark:
        "benchmarks/plot_encoder_curve/{encoder}.tsv"
    params:
        title="encoder {encoder}",
        code=code_of("plot-curve"),


rule plot_confusion:
    input:
        predictions=f"{SEED}/predictions.parquet",
    output:
        matrix=report(
            f"{SEED}/confusion_matrix.png",
            caption="../src/speechprompt/report/data/overview.confusion_matrix.rst",
            category="{task}",
            labels={"method": "{method}", "seed": "{seed}", "picture": "confusion matrix"},
        ),
    log:
        "logs/plot_confusion/{task}-{method}-{seed}.log",
    benchmark:
        "benchmarks/plot_confusion/{task}-{method}-{seed}.tsv"
    wildcard_constraints:
        task=PLAN.tasks.of_type("classification"),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        code=code_of("plot-confusion"),
    shell:
        "speechprompt --log {log} plot-confusion {input.predictions} --out {output.matrix}"
        " --title '{wildcards.task}, {wildcards.method}, seed {wildcards.seed}'"


rule plot_error_by_length:
    input:
        predictions=PLAN.results.compared_predictions,
    output:
        picture=report(
            "results/{task}/error_by_length.png",
            caption="../src/speechprompt/report/data/overview.error_by_length.rst",
            category="{task}",
            labels={"method": "all", "seed": "all", "picture": "error by length"},
        ),
        table="results/{task}/error_by_length.parquet",
    log:
        "logs/plot_error_by_length/{task}.log",
    benchmark:
        "benchmarks/plot_error_by_length/{task}.tsv"
    wildcard_constraints:
        task=PLAN.tasks.of_type("transcription", "slot_filling"),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(30),
    params:
        code=code_of("plot-error-by-length"),
    shell:
        "speechprompt --log {log} plot-error-by-length {input.predictions} --out {output.picture}"
        " --title {wildcards.task}"


rule summarise_seeds:
    input:
        metrics=PLAN.results.metrics,
        predictions=PLAN.results.predictions,
        baseline="results/{task}/baseline/predictions.parquet",
    output:
        metrics="results/{task}/{method}/metrics.json",
    log:
        "logs/summarise_seeds/{task}-{method}.log",
    benchmark:
        "benchmarks/summarise_seeds/{task}-{method}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 20),
        runtime=minutes(30),
    params:
        folders=PLAN.results.seed_folders,
        code=code_of("summarise-seeds"),
    shell:
        "speechprompt --log {log} summarise-seeds {params.folders} --baseline {input.baseline} --out {output.metrics}"


rule describe_model:
    input:
        unpack(PLAN.tasks.answering_files),
    output:
        model="results/{task}/model.json",
    log:
        "logs/describe_model/{task}.log",
    benchmark:
        "benchmarks/describe_model/{task}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        hearing=PLAN.tasks.hearing,
        files=PLAN.tasks.hearing_files,
        settings=PLAN.tasks.decoding,
        code=code_of("describe-model"),
    shell:
        "speechprompt --log {log} describe-model {input.prompt} --name {wildcards.task} --unit-lm {input.lm}"
        " {params.hearing} {params.files} --settings {params.settings:q} --out {output.model}"


rule finish_task:
    input:
        unpack(PLAN.results.finished_sources),
    output:
        file="results/{task}/{file}",
    log:
        "logs/finish_task/{task}-{file}.log",
    benchmark:
        "benchmarks/finish_task/{task}-{file}.tsv"
    wildcard_constraints:
        file=PLAN.results.finished_files(),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 3),
        runtime=minutes(30),
    params:
        code=code_of("finish-task"),
    shell:
        "speechprompt --log {log} finish-task {input.source} --out {output.file}"


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
    log:
        "logs/write_table.log",
    benchmark:
        "benchmarks/write_table.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 20),
        runtime=minutes(30),
    params:
        reported=PLAN.results.reported(),
        code=code_of("write-table"),
    shell:
        "speechprompt --log {log} write-table {input.metrics} --reported {params.reported:q}"
        " --out {output.markdown}"


rule plot_unit_statistics:
    input:
        index="results/units/{codebook}/{corpus}/train/index.json",
        parts=PLAN.units.train_parts,
    output:
        picture=report(
            "results/units/{codebook}/{corpus}/statistics.png",
            caption="../src/speechprompt/report/data/overview.unit_statistics.rst",
            category="units",
            labels={"codebook": "{codebook}", "corpus": "{corpus}", "picture": "usage"},
        ),
        table="results/units/{codebook}/{corpus}/statistics.parquet",
    log:
        "logs/plot_unit_statistics/{codebook}-{corpus}.log",
    benchmark:
        "benchmarks/plot_unit_statistics/{codebook}-{corpus}.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        title="{codebook}, {corpus}, train",
        code=code_of("plot-unit-statistics"),
    shell:
        "speechprompt --log {log} plot-unit-statistics {input.index} --out {output.picture}"
        " --title {params.title:q}"


rule plot_codebook:
    input:
        codebook=CODEBOOK,
        statistics=PLAN.results.unit_statistics,
    output:
        picture=report(
            "results/codebooks/{codebook}.png",
            caption="../src/speechprompt/report/data/overview.codebook.rst",
            category="units",
            labels={"codebook": "{codebook}", "corpus": "", "picture": "map"},
        ),
    log:
        "logs/plot_codebook/{codebook}.log",
    benchmark:
        "benchmarks/plot_codebook/{codebook}.tsv"
    wildcard_constraints:
        codebook=PLAN.results.mapped(),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        title="codebook {codebook}",
        code=code_of("plot-codebook"),
    shell:
        "speechprompt --log {log} plot-codebook {input.codebook} --statistics {input.statistics}"
        " --out {output.picture} --title {params.title:q}"


rule write_overview:
    input:
        table="results/table.parquet",
        metrics=PLAN.results.all_metrics(),
        pictures=PLAN.results.pictures(),
    output:
        page=report(
            "results/overview.html",
            caption="../workflow/report/overview.rst",
            category="results",
        ),
    log:
        "logs/write_overview.log",
    benchmark:
        "benchmarks/write_overview.tsv"
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        folder=PLAN.results.folder,
        setup=PLAN.results.setup(),
        code=code_of("write-overview"),
    shell:
        "speechprompt --log {log} write-overview {params.folder} --setup {params.setup:q} --out {output.page}"
