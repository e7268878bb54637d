"""Corpora: recordings and their labels come in, manifests go out, one Parquet file per split.

``published`` has one module per corpus that can be downloaded, ``synthetic`` makes corpora with the
speech synthesiser eSpeak NG, and ``table`` reads a user's own CSV. The next room is ``encoders``.
"""
