rule download_model:
    output:
        model="resources/models/published/{asset}",
    wildcard_constraints:
        asset=PLAN.models.published(),
    retries: 2
    resources:
        **needs(1000, minutes=720),
        disk_mb=4000,
    params:
        root=PLAN.models.copy_of,
    shell:
        "speechprompt --log {log:q} download-model {wildcards.asset} {params.root} --out {output.model:q}"


rule download_hub_model:
    output:
        folder=directory("resources/models/hub/{repository}/{revision}"),
    wildcard_constraints:
        repository=PLAN.models.hub_repositories(),
        revision=PLAN.models.hub_revisions(),
    retries: 2
    resources:
        **needs(1000, minutes=720),
        disk_mb=8000,
    params:
        repository=PLAN.models.hub_repository,
    shell:
        "speechprompt --log {log:q} download-hub-model {params.repository:q}"
        " --revision {wildcards.revision} --out {output.folder:q}"


rule import_encoder:
    input:
        checkpoint=PLAN.models.checkpoint_files,
    output:
        weights="resources/models/{encoder}/model.safetensors",
    wildcard_constraints:
        encoder=PLAN.models.imported_encoders(),
    resources:
        **needs(1500, 5, minutes=60),
    params:
        verb=PLAN.models.import_verb,
        options=PLAN.models.import_options,
        code=PLAN.code_of_import,
    shell:
        "speechprompt --log {log:q} {params.verb} {input.checkpoint[0]:q} {params.options}"
        " --out {output.weights:q}"


rule import_codebook:
    input:
        kmeans=PLAN.models.checkpoint,
        weights=PLAN.models.encoder_weights,
    output:
        codebook=CODEBOOK,
    wildcard_constraints:
        codebook=PLAN.models.of_kind("codebooks", "imported"),
    resources:
        **needs(1500, 5, minutes=30),
    params:
        encoder=PLAN.models.encoder_options,
        options=PLAN.models.import_options,
    shell:
        "speechprompt --log {log:q} import-codebook {input.kmeans:q} {params.encoder}"
        " {params.options} --out {output.codebook:q}"


rule import_unit_lm:
    input:
        checkpoint=PLAN.models.checkpoint_files,
        codebook=PLAN.models.lm_codebook,
    output:
        lm=UNIT_LM,
    wildcard_constraints:
        lm=PLAN.models.of_kind("lm", "imported"),
    resources:
        **needs(1500, 5, minutes=60),
    params:
        options=PLAN.models.import_options,
    shell:
        "speechprompt --log {log:q} import-unit-lm {input.checkpoint[0]:q} --codebook={input.codebook:q}"
        " {params.options} --out {output.lm:q}"


rule copy_shipped:
    output:
        model="resources/models/shipped/{model}",
    wildcard_constraints:
        model=PLAN.models.shipped(),
    resources:
        **needs(500, minutes=10),
    shell:
        "speechprompt --log {log:q} copy-shipped {wildcards.model} --out {output.model:q}"


rule take_codebook:
    input:
        given=PLAN.models.given,
        weights=PLAN.models.encoder_weights,
    output:
        codebook=CODEBOOK,
    wildcard_constraints:
        codebook=PLAN.models.of_kind("codebooks", "given"),
    resources:
        **needs(1500, 3, minutes=10),
    params:
        encoder=PLAN.models.encoder_options,
    shell:
        "speechprompt --log {log:q} take-codebook {input.given:q} {params.encoder}"
        " --out {output.codebook:q}"


rule take_unit_lm:
    input:
        given=PLAN.models.given,
        codebook=PLAN.models.lm_codebook,
    output:
        lm=UNIT_LM,
    wildcard_constraints:
        lm=PLAN.models.of_kind("lm", "given"),
    resources:
        **needs(1500, 3, minutes=10),
    shell:
        "speechprompt --log {log:q} take-unit-lm {input.given:q} --codebook={input.codebook:q}"
        " --out {output.lm:q}"
