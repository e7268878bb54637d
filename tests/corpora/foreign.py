"""What the tests of other programs' lists of recordings share."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from small_run import RATE
from speechprompt.corpora.prepare import prepare_corpus

SPLITS = ("train", "valid", "test")
HUB = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def hub_metadata(**features):
    """What the hub's library writes into a schema."""
    told = {"audio": {"sampling_rate": RATE, "_type": "Audio"}, **features}
    return {"huggingface": json.dumps({"info": {"features": told}})}


def write_hub(path, cells, columns, features=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"audio": pa.array(cells, HUB), **columns})
    table = table.replace_schema_metadata(hub_metadata(**(features or {})))
    pq.write_table(table, path, **options)


def prepare(corpus, folder, **options):
    return prepare_corpus(corpus, corpus.base, folder / ".m", seed=1, **options)
