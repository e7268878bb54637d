# Cross-validation: every fold of a corpus is test in a task of its own, and their scores are pooled.


rule take_fold:
    input:
        manifests=PLAN.folds.manifests,
    output:
        train="results/manifests/{corpus}/train.parquet",
        valid="results/manifests/{corpus}/valid.parquet",
        test="results/manifests/{corpus}/test.parquet",
    wildcard_constraints:
        corpus=PLAN.corpora.of_kind("fold"),
    resources:
        **needs(1000, 40, minutes=30),
    params:
        division=PLAN.folds.division,
        seed=CONFIG.seed,
        max_repeated=CONFIG.max_repeated,
    shell:
        "speechprompt --log {log:q} take-fold {input.manifests:q} {params.division} --seed {params.seed}"
        ' --max-repeated {params.max_repeated} --out "$(dirname {output.train:q})"'


rule take_units:
    input:
        unpack(PLAN.folds.whole_units),
        manifest=MANIFEST,
    output:
        units=f"{UNITS}/part-00000-of-00001.parquet",
    wildcard_constraints:
        corpus=PLAN.corpora.of_kind("fold"),
    resources:
        **needs(1000, 20, minutes=30),
    shell:
        "speechprompt --log {log:q} take-units {input.units:q} --manifest {input.manifest:q}"
        " --out {output.units:q}"


rule pool_folds:
    input:
        unpack(PLAN.folds.answers),
    output:
        predictions=f"{SEED}/predictions.parquet",
        metrics=f"{SEED}/metrics.json",
    wildcard_constraints:
        task=PLAN.folds.crossvalidated(),
    resources:
        **needs(1500, 20, minutes=30),
    params:
        folders=PLAN.folds.folders,
    shell:
        "speechprompt --log {log:q} pool-folds {params.folders} --name={wildcards.task}"
        " --predictions {output.predictions:q} --metrics {output.metrics:q}"


use rule pool_folds as pool_baselines with:
    output:
        predictions="results/{task}/baseline/{baseline}/predictions.parquet",
        metrics="results/{task}/baseline/{baseline}/metrics.json",
