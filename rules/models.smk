rule download_model:
    output:
        model="resources/models/published/{asset}",
    log:
        "logs/download_model/{asset}.log",
    benchmark:
        "benchmarks/download_model/{asset}.tsv"
    wildcard_constraints:
        asset=PLAN.models.published(),
    retries: 2
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(720),
        disk_mb=4000,
    params:
        root=PLAN.models.copy_of,
        code=code_of("download-model"),
    shell:
        "speechprompt --log {log} download-model {wildcards.asset} {params.root} --out {output.model}"


rule import_encoder:
    input:
        checkpoint=PLAN.models.checkpoint("encoders"),
    output:
        weights="resources/models/{encoder}/model.safetensors",
    log:
        "logs/import_encoder/{encoder}.log",
    benchmark:
        "benchmarks/import_encoder/{encoder}.tsv"
    wildcard_constraints:
        encoder=PLAN.models.imported_encoders(),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 5),
        runtime=minutes(60),
    params:
        verb=PLAN.models.import_verb,
        options=PLAN.models.import_options("encoders"),
        code=PLAN.code_of_import,
    shell:
        "speechprompt --log {log} {params.verb} {input.checkpoint:q} {params.options}"
        " --out {output.weights}"


rule import_codebook:
    input:
        kmeans=PLAN.models.checkpoint("codebooks"),
        weights=PLAN.models.encoder_weights,
    output:
        codebook=CODEBOOK,
    log:
        "logs/import_codebook/{codebook}.log",
    benchmark:
        "benchmarks/import_codebook/{codebook}.tsv"
    wildcard_constraints:
        codebook=PLAN.models.of_kind("codebooks", "imported"),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 5),
        runtime=minutes(30),
    params:
        encoder=PLAN.models.encoder_settings,
        weights=weights_option,
        options=PLAN.models.import_options("codebooks"),
        code=code_of("import-codebook"),
    shell:
        "speechprompt --log {log} import-codebook {input.kmeans:q} --encoder {params.encoder:q} {params.weights}"
        " {params.options} --out {output.codebook}"


rule import_unit_lm:
    input:
        checkpoint=PLAN.models.checkpoint("lm"),
        codebook=PLAN.models.lm_codebook,
    output:
        lm=UNIT_LM,
    log:
        "logs/import_unit_lm/{lm}.log",
    benchmark:
        "benchmarks/import_unit_lm/{lm}.tsv"
    wildcard_constraints:
        lm=PLAN.models.of_kind("lm", "imported"),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 5),
        runtime=minutes(60),
    params:
        options=PLAN.models.import_options("lm"),
        code=code_of("import-unit-lm"),
    shell:
        "speechprompt --log {log} import-unit-lm {input.checkpoint:q} --codebook {input.codebook:q}"
        " {params.options} --out {output.lm}"


rule copy_shipped:
    output:
        model="resources/models/shipped/{model}",
    log:
        "logs/copy_shipped/{model}.log",
    benchmark:
        "benchmarks/copy_shipped/{model}.tsv"
    wildcard_constraints:
        model=PLAN.models.shipped(),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=minutes(10),
    params:
        sums=PLAN.models.sums(),
        code=code_of("copy-shipped"),
    shell:
        "speechprompt --log {log} copy-shipped {wildcards.model} --out {output.model}"


rule take_codebook:
    input:
        given=PLAN.models.given("codebooks"),
        weights=PLAN.models.encoder_weights,
    output:
        codebook=CODEBOOK,
    log:
        "logs/take_codebook/{codebook}.log",
    benchmark:
        "benchmarks/take_codebook/{codebook}.tsv"
    wildcard_constraints:
        codebook=PLAN.models.of_kind("codebooks", "given"),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 3),
        runtime=minutes(10),
    params:
        encoder=PLAN.models.encoder_settings,
        weights=weights_option,
        code=code_of("take-codebook"),
    shell:
        "speechprompt --log {log} take-codebook {input.given:q} --encoder {params.encoder:q} {params.weights}"
        " --out {output.codebook}"


rule take_unit_lm:
    input:
        given=PLAN.models.given("lm"),
        codebook=PLAN.models.lm_codebook,
    output:
        lm=UNIT_LM,
    log:
        "logs/take_unit_lm/{lm}.log",
    benchmark:
        "benchmarks/take_unit_lm/{lm}.tsv"
    wildcard_constraints:
        lm=PLAN.models.of_kind("lm", "given"),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 3),
        runtime=minutes(10),
    params:
        code=code_of("take-unit-lm"),
    shell:
        "speechprompt --log {log} take-unit-lm {input.given:q} --codebook {input.codebook:q}"
        " --out {output.lm}"
