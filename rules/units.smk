rule quantize_units:
    input:
        features=PLAN.units.features,
        manifest=MANIFEST,
        codebook=CODEBOOK,
    output:
        units=f"{UNITS}/{PART}",
    wildcard_constraints:
        corpus=PLAN.corpora.not_of_kind("units", "fold"),
    resources:
        **needs(1000, 0.1, minutes=60),
    params:
        deduplicate=PLAN.units.deduplicate,
    shell:
        "speechprompt --log {log:q} quantize-units --features {input.features:q} --manifest {input.manifest:q}"
        " --codebook={input.codebook:q} --deduplicate {params.deduplicate}"
        " --out {output.units:q}"


rule prepare_units:
    input:
        unpack(PLAN.corpora.unit_texts),
    output:
        units=f"{UNITS}/part-00000-of-00001.parquet",
    wildcard_constraints:
        corpus=PLAN.corpora.of_kind("units"),
    resources:
        **needs(1500, 40, minutes=60),
    params:
        settings=PLAN.corpora.settings,
        lines=PLAN.corpora.unit_options,
    shell:
        "speechprompt --log {log:q} prepare-units --settings {params.settings:q} --split={wildcards.split}"
        " {params.lines} --dictionary={input.dictionary:q} --out {output.units:q}"


rule gather_units:
    input:
        unpack(PLAN.units.train_units),
        parts=PLAN.units.parts_of,
        manifest=PLAN.units.manifest,
    output:
        index=f"{UNITS}/index.json",
    resources:
        **needs(600, 3, minutes=30),
    params:
        manifest=PLAN.units.manifest_option,
        train=PLAN.units.train_option,
    shell:
        "speechprompt --log {log:q} gather-units {input.parts:q} --corpus={wildcards.corpus}"
        " --split={wildcards.split} {params.manifest} {params.train} --out {output.index:q}"
