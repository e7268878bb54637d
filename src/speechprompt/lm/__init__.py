"""The unit language model: architecture, dictionary, files, pre-training."""

from speechprompt.lm.artefact import LoadedLM, load_lm, save_lm
from speechprompt.lm.dictionary import Dictionary
from speechprompt.lm.model import LMConfig, UnitLM

__all__ = ["Dictionary", "LMConfig", "LoadedLM", "UnitLM", "load_lm", "save_lm"]
