"""Published corpora: archives or a copy of them come in, manifests go out, one module per corpus.

``sources`` is the table of their folders, ``collect`` downloads or links these, and ``counts``
compares what was found with what was published.
"""
