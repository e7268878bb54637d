rule plot_curve:
    input:
        curve=f"{SEED_FOLDER}/curve.parquet",
    output:
        curve=report(
            f"{SEED_FOLDER}/learning_curve.png",
            caption="../workflow/report/learning_curve.rst",
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
            caption="../workflow/report/learning_curve.rst",
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
            caption="../workflow/report/learning_curve.rst",
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
        predictions=f"{SEED_FOLDER}/predictions.parquet",
    output:
        matrix=report(
            f"{SEED_FOLDER}/confusion_matrix.png",
            caption="../workflow/report/confusion_matrix.rst",
            category="{task}",
            labels={"method": "{method}", "seed": "{seed}", "picture": "confusion matrix"},
        ),
    log:
        "logs/plot_confusion/{task}-{method}-{seed}.log",
    benchmark:
        "benchmarks/plot_confusion/{task}-{method}-{seed}.tsv"
    wildcard_constraints:
        task=of_type("classification"),
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
        predictions=compared_predictions,
    output:
        picture=report(
            "results/{task}/error_by_length.png",
            caption="../workflow/report/error_by_length.rst",
            category="{task}",
            labels={"method": "all", "seed": "all", "picture": "error by length"},
        ),
        table="results/{task}/error_by_length.parquet",
    log:
        "logs/plot_error_by_length/{task}.log",
    benchmark:
        "benchmarks/plot_error_by_length/{task}.tsv"
    wildcard_constraints:
        task=of_type("transcription", "slot_filling"),
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
        metrics=method_metrics,
        predictions=method_predictions,
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
        folders=seed_folders,
        code=code_of("summarise-seeds"),
    shell:
        "speechprompt --log {log} summarise-seeds {params.folders} --baseline {input.baseline} --out {output.metrics}"


rule describe_model:
    input:
        unpack(described_files),
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
        heard=heard_options,
        settings=decoding_settings,
        code=code_of("describe-model"),
    shell:
        "speechprompt --log {log} describe-model {input.prompt} --name {wildcards.task} --unit-lm {input.lm}"
        " {params.heard} --settings {params.settings:q} --out {output.model}"


rule finish_task:
    input:
        unpack(finished_sources),
    output:
        file="results/{task}/{file}",
    log:
        "logs/finish_task/{task}-{file}.log",
    benchmark:
        "benchmarks/finish_task/{task}-{file}.tsv"
    wildcard_constraints:
        file=finished_files(),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 3),
        runtime=minutes(30),
    params:
        folder=first_folder,
        code=code_of("finish-task"),
    shell:
        "speechprompt --log {log} finish-task {params.folder} --summary {input.summary} --out {output.file}"


rule write_table:
    input:
        metrics=all_summaries(),
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
        reported=reported_results(),
        code=code_of("write-table"),
    shell:
        "speechprompt --log {log} write-table {input.metrics} --reported {params.reported:q}"
        " --out {output.markdown}"


rule plot_unit_statistics:
    input:
        index="results/units/{codebook}/{corpus}/train/index.json",
    output:
        picture=report(
            "results/units/{codebook}/{corpus}/statistics.png",
            caption="../workflow/report/unit_statistics.rst",
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
        codebook="results/codebooks/{codebook}.safetensors",
        statistics=codebook_statistics,
    output:
        picture=report(
            "results/codebooks/{codebook}.png",
            caption="../workflow/report/codebook.rst",
            category="units",
            labels={"codebook": "{codebook}", "corpus": "", "picture": "map"},
        ),
    log:
        "logs/plot_codebook/{codebook}.log",
    benchmark:
        "benchmarks/plot_codebook/{codebook}.tsv"
    wildcard_constraints:
        codebook=one_of(mapped_codebooks()),
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
        metrics=all_summaries(),
        pictures=overview_pictures(),
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
        setup=shown_setup(),
        code=code_of("write-overview"),
    shell:
        "speechprompt --log {log} write-overview results --setup {params.setup:q} --out {output.page}"
