rule download_model:
    output:
        model="resources/models/published/{asset}",
    log:
        "logs/download_model/{asset}.log",
    benchmark:
        "benchmarks/download_model/{asset}.tsv"
    wildcard_constraints:
        asset=published_models(),
    retries: 2
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=minutes(720),
        disk_mb=4000,
    params:
        root=model_root,
        code=code_of("download-model"),
    shell:
        "speechprompt --log {log} download-model {wildcards.asset} {params.root} --out {output.model}"


rule import_encoder:
    input:
        checkpoint=imported_checkpoint("encoders"),
    output:
        weights="resources/models/{encoder}/model.safetensors",
    log:
        "logs/import_encoder/{encoder}.log",
    benchmark:
        "benchmarks/import_encoder/{encoder}.tsv"
    wildcard_constraints:
        encoder=of_block("encoders", Imported),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 5),
        runtime=minutes(60),
    params:
        verb=import_encoder_verb,
        options=import_options("encoders"),
        code=import_encoder_digest,
    shell:
        "speechprompt --log {log} {params.verb} {input.checkpoint:q} {params.options}"
        " --out {output.weights}"


rule import_codebook:
    input:
        kmeans=imported_checkpoint("codebooks"),
        weights=codebook_encoder_weights,
    output:
        codebook="results/codebooks/{codebook}.safetensors",
    log:
        "logs/import_codebook/{codebook}.log",
    benchmark:
        "benchmarks/import_codebook/{codebook}.tsv"
    wildcard_constraints:
        codebook=of_block("codebooks", ImportedCodebook),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 5),
        runtime=minutes(30),
    params:
        encoder=codebook_encoder_settings,
        options=import_options("codebooks"),
        code=code_of("import-codebook"),
    shell:
        "speechprompt --log {log} import-codebook {input.kmeans:q} --encoder {params.encoder:q}"
        " {params.options} --out {output.codebook}"


rule import_unit_lm:
    input:
        checkpoint=imported_checkpoint("lm"),
        codebook=lm_codebook,
    output:
        lm="results/lm/{lm}/model.safetensors",
    log:
        "logs/import_unit_lm/{lm}.log",
    benchmark:
        "benchmarks/import_unit_lm/{lm}.tsv"
    wildcard_constraints:
        lm=of_block("lm", ImportedUnitLm),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 5),
        runtime=minutes(60),
    params:
        options=import_options("lm"),
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
        model=one_of(SHIPPED),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=minutes(10),
    params:
        sums=json.dumps(SHIPPED),
        code=code_of("copy-shipped"),
    shell:
        "speechprompt --log {log} copy-shipped {wildcards.model} --out {output.model}"


rule take_codebook:
    input:
        given=given_model("codebooks"),
        weights=codebook_encoder_weights,
    output:
        codebook="results/codebooks/{codebook}.safetensors",
    log:
        "logs/take_codebook/{codebook}.log",
    benchmark:
        "benchmarks/take_codebook/{codebook}.tsv"
    wildcard_constraints:
        codebook=of_block("codebooks", GivenCodebook),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 3),
        runtime=minutes(10),
    params:
        encoder=codebook_encoder_settings,
        code=code_of("take-codebook"),
    shell:
        "speechprompt --log {log} take-codebook {input.given:q} --encoder {params.encoder:q}"
        " --out {output.codebook}"


rule take_unit_lm:
    input:
        given=given_model("lm"),
        codebook=lm_codebook,
    output:
        lm="results/lm/{lm}/model.safetensors",
    log:
        "logs/take_unit_lm/{lm}.log",
    benchmark:
        "benchmarks/take_unit_lm/{lm}.tsv"
    wildcard_constraints:
        lm=of_block("lm", GivenUnitLm),
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
