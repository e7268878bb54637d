"""Files: written atomically, hashed, and the same bytes for the same content.

Every room reads and writes through these functions. Digests of the package's own code are here
too, because Snakemake treats code like one more file that a job reads.
"""
