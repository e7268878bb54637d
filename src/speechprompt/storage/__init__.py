"""Files: written atomically, with the same bytes for the same content.

Every room reads and writes through the modules here: text and JSON through ``files``, Parquet
through ``parquet``, safetensors through ``tensors``. Digests of the package's own code are here
too, because for Snakemake code is one more file that a job reads. The next room is ``runtime``.
"""
