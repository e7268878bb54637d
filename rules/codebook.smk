rule fit_codebook:
    input:
        sample=PLAN.units.sample,
    output:
        codebook=CODEBOOK,
    wildcard_constraints:
        codebook=PLAN.models.of_kind("codebooks", "kmeans"),
    resources:
        **needs(2000, 10, minutes=240),
    params:
        n_units=PLAN.units.size,
        seed=PLAN.units.seed,
    shell:
        "speechprompt --log {log:q} fit-codebook --sample {input.sample:q} --n-units {params.n_units}"
        " --seed {params.seed} --out {output.codebook:q}"
