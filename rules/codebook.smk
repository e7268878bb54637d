rule fit_codebook:
    input:
        sample=PLAN.units.sample,
    output:
        codebook=CODEBOOK,
    log:
        "logs/fit_codebook/{codebook}.log",
    benchmark:
        "benchmarks/fit_codebook/{codebook}.tsv"
    wildcard_constraints:
        codebook=PLAN.models.of_kind("codebooks", "kmeans"),
    conda:
        "../envs/speechprompt.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000, 10),
        runtime=minutes(240),
    params:
        n_units=PLAN.units.size,
        seed=CONFIG.seed,
        code=code_of("fit-codebook"),
    shell:
        "speechprompt --log {log} fit-codebook --sample {input.sample} --n-units {params.n_units}"
        " --seed {params.seed} --out {output.codebook}"
