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
        mem_mb=1000,
        runtime=720,
    params:
        root=model_root,
        code=digest("download"),
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
        mem_mb=8000,
        runtime=60,
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
        mem_mb=4000,
        runtime=30,
    params:
        encoder=codebook_encoder_settings,
        options=import_options("codebooks"),
        code=digest("importing.codebook"),
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
        mem_mb=8000,
        runtime=60,
    params:
        options=import_options("lm"),
        code=digest("importing.unit_lm"),
    shell:
        "speechprompt --log {log} import-unit-lm {input.checkpoint:q} --codebook {input.codebook:q}"
        " {params.options} --out {output.lm}"
