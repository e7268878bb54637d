"""SpeechPrompt: prompt tuning of a frozen generative spoken language model.

Method: "An Exploration of Prompt Tuning on Generative Spoken Language Model for Speech Processing
Tasks" (Chang et al., Interspeech 2022).
"""

__version__ = "0.1.0"
