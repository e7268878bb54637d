"""Files: written atomically, hashed, and the same bytes for the same content.

There is a module for each kind: text and JSON in ``files``, Parquet in ``parquet``, safetensors in
``tensors``. Every room reads and writes through them. Digests of the package's own code are here
too, because Snakemake treats code like one more file that a job reads.
"""
