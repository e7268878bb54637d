"""Published corpora, with one module per corpus: archives or a copy come in, recordings go out.

``sources`` is the table of their folders, ``collect`` downloads the folders or links to a copy, and
``counts`` compares the numbers of recordings with the published ones.
"""
