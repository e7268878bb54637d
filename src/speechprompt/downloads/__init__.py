"""Downloads: published files come in, and are used only after their hash matched.

``assets`` is the table of what can be downloaded. Verified files and unpacked folders go out, to
``corpora`` and ``models``.
"""
