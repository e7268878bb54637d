"""The settings in a fairseq checkpoint, in both of its layouts.

Until fairseq 0.10 a checkpoint has ``args``, a flat ``argparse.Namespace``. Since then it has
``cfg``, blocks of settings in a dict or in omegaconf's ``DictConfig``.
"""

import enum
import re
import reprlib
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from speechprompt.errors import ArtefactError
from speechprompt.models.importing.placeholders import Placeholder

__all__ = ["demand", "fairseq_settings", "plain", "require", "shown"]

# No model has settings as deep or as many. What is there twice counts twice.
DEEPEST, MOST = 50, 100_000
REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def fairseq_settings(state: Any, origin: str) -> dict[str, Any]:
    """Join the settings of model and task, as plain values.

    Args:
        state: The checkpoint, or a dict with its ``args`` or ``cfg``.
        origin: The file, for messages.

    Raises:
        ArtefactError: the checkpoint has neither layout, or its settings are not plain values.
    """
    if not isinstance(state, Mapping):
        raise ArtefactError(
            f"{origin}: expected a fairseq checkpoint, found {type(state).__name__}"
        )
    if state.get("args") is not None:
        return _expect_dict(plain(state["args"], origin), "args", origin)
    config = _expect_dict(plain(state.get("cfg"), origin), "cfg", origin)
    task, model = (_expect_dict(config.get(b), f"cfg.{b}", origin) for b in ("task", "model"))
    task.pop("_name", None)
    return {key: _resolve(value, config) for key, value in {**task, **model}.items()}


def plain(value: Any, origin: str) -> Any:
    """Convert a configuration to dicts, lists, text, numbers and None.

    Raises:
        ArtefactError: the value is nested too deeply to be a configuration, or has too many parts.
    """
    return _plain(value, origin, 0, count())


def _plain(value: Any, origin: str, depth: int, counter: Iterator[int]) -> Any:
    if depth > DEEPEST:
        raise ArtefactError(f"{origin}: its settings are nested more than {DEEPEST} deep")
    if next(counter) > MOST:
        raise ArtefactError(f"{origin}: it has more than {MOST} settings")
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, str | int | float):
        return value
    own = getattr(value, "__dict__", {})
    for content in ("_content", "_val"):  # omegaconf's containers and leaves
        if content in own:
            return _plain(own[content], origin, depth + 1, counter)
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else shown(key): _plain(item, origin, depth + 1, counter)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, origin, depth + 1, counter) for item in value]
    if isinstance(value, Placeholder) and value.arguments and not own:  # an enum's value
        return _plain(value.arguments[-1], origin, depth + 1, counter)
    return {key: _plain(item, origin, depth + 1, counter) for key, item in own.items()}


def require(settings: Mapping[str, Any], key: str, kind: type, origin: str) -> Any:
    """Return a setting that has no default.

    Raises:
        ArtefactError: the setting is missing or has another type.
    """
    value = settings.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ArtefactError(
            f"{origin}: setting {key}: expected {kind.__name__}, found {shown(value)}"
        )
    return value


def shown(value: Any) -> str:
    """A value for a message, cut short: a few lists that contain each other can be endless text."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    return short.repr(value)


def demand(settings: Mapping[str, Any], wanted: Mapping[str, Any], origin: str) -> None:
    """Refuse a model with values of settings that this package does not support.

    Args:
        settings: The result of :func:`fairseq_settings`.
        wanted: The supported values; missing settings have them by default.
        origin: The file, for the message.

    Raises:
        ArtefactError: a setting has another value; the message names it.
    """
    wrong = [
        f"{key}: expected {value!r}, found {shown(settings[key])}"
        for key, value in wanted.items()
        if key in settings and (settings[key] or None) != (value or None)
    ]
    if wrong:
        raise ArtefactError(f"{origin}: a model that is not offered here; {'; '.join(wrong)}")


def _expect_dict(value: Any, name: str, origin: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ArtefactError(
        f"{origin}: expected a fairseq checkpoint with `args` or `cfg`, found "
        f"{type(value).__name__} as `{name}`"
    )


def _resolve(value: Any, config: Mapping[str, Any]) -> Any:
    """The value that ``${block.key}`` refers to, or None if there is none."""
    for _ in range(DEEPEST):
        match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        value = config
        for part in match[1].split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    return None
