"""Audio: files of any format, rate and channel count become 16 kHz mono float32 waveforms.

Paths, folders and lists of paths come in, waveforms go out. ``acoustics`` adds noise to waveforms.
The next room is ``downloads``, which fetches recordings and models.
"""
