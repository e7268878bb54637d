"""Audio: files of any format, rate and channel count become 16 kHz mono float32 waveforms.

Paths as people write them come in, waveforms go out. ``acoustics`` adds rooms and noise to them.
The next room is ``downloads``, which brings recordings and models from elsewhere.
"""
