rule synthesise_corpus:
    output:
        table="resources/corpora/{corpus}/corpus.csv",
        train=directory("resources/corpora/{corpus}/train"),
        valid=directory("resources/corpora/{corpus}/valid"),
        test=directory("resources/corpora/{corpus}/test"),
    wildcard_constraints:
        corpus=PLAN.corpora.of_kind("synthetic"),
    threads: THREADS
    resources:
        **needs(1000 + 500 * THREADS, minutes=120),
        disk_mb=PLAN.resources.synthesis_disk,
    params:
        settings=PLAN.corpora.settings,
        seed=CONFIG.seed,
    shell:
        "speechprompt --log {log:q} synthesise-corpus --settings {params.settings:q} --seed {params.seed}"
        ' --out "$(dirname {output.table:q})"'


rule download_corpus:
    output:
        folder=directory("resources/corpora/{corpus}/root/{folder}"),
    wildcard_constraints:
        folder=PLAN.corpora.folders(),
    retries: 2
    resources:
        **needs(1000, minutes=1440),
        disk_mb=PLAN.resources.download_disk,
    params:
        source=PLAN.corpora.source,
    shell:
        "speechprompt --log {log:q} download-corpus {params.source}"
        ' --out "$(dirname "$(dirname {output.folder:q})")" --linked "$(dirname {output.folder:q})"'


rule download_hub_corpus:
    output:
        folder=directory("resources/corpora/hub/{repository}/{revision}"),
    wildcard_constraints:
        repository=PLAN.corpora.hub_corpora(),
        revision=PLAN.corpora.hub_revisions(),
    retries: 2
    resources:
        **needs(1000, minutes=1440),
        disk_mb=20000,
    params:
        source=PLAN.corpora.hub_source,
    shell:
        "speechprompt --log {log:q} download-hub-corpus {params.source} --out {output.folder:q}"


rule prepare_corpus:
    input:
        listed=PLAN.corpora.listing,
        recordings=ancient(PLAN.corpora.listed),
    output:
        train="results/manifests/{corpus}/train.parquet",
        valid="results/manifests/{corpus}/valid.parquet",
        test="results/manifests/{corpus}/test.parquet",
        rejects="results/manifests/{corpus}/rejects.parquet",
    wildcard_constraints:
        corpus=PLAN.corpora.only_listed(),
    threads: THREADS
    resources:
        **needs(2000, 20, minutes=240),
    params:
        root=PLAN.corpora.root,
        settings=PLAN.corpora.settings,
        seed=CONFIG.seed,
        max_rejected=CONFIG.max_rejected,
        max_repeated=CONFIG.max_repeated,
        fingerprint=PLAN.corpora.fingerprint,
        made=PLAN.corpora.made_option,
    shell:
        "speechprompt --log {log:q} prepare-corpus {params.root} --settings {params.settings:q}"
        " --seed {params.seed} --max-rejected {params.max_rejected} --max-repeated {params.max_repeated} {params.made}"
        ' --out "$(dirname {output.train:q})"'


# The silence of train and valid is cut out of the corpus's noises.
use rule prepare_corpus as prepare_speech_commands with:
    output:
        train="results/manifests/{corpus}/train.parquet",
        valid="results/manifests/{corpus}/valid.parquet",
        test="results/manifests/{corpus}/test.parquet",
        rejects="results/manifests/{corpus}/rejects.parquet",
        silence=directory("resources/corpora/{corpus}/root/silence"),
    wildcard_constraints:
        corpus=PLAN.corpora.with_silence(),


# Recordings that commands in Kaldi's lists write are kept, so that the commands are run once.
use rule prepare_corpus as prepare_commands with:
    output:
        train="results/manifests/{corpus}/train.parquet",
        valid="results/manifests/{corpus}/valid.parquet",
        test="results/manifests/{corpus}/test.parquet",
        rejects="results/manifests/{corpus}/rejects.parquet",
        made=directory("resources/corpora/{corpus}/made"),
    wildcard_constraints:
        corpus=PLAN.corpora.with_commands(),
