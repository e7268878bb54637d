"""Downloads: URLs of published files come in, verified files and unpacked folders go out.

``assets`` is the table of the files, ``download`` fetches and verifies them, and ``archives``
unpacks them. ``corpora`` and ``models`` use them; the next room is ``config``.
"""
