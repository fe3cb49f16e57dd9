"""Forms of the settings page: what was typed to an `Edit`, and back into the fields. Pure.

A field that is left empty means "no opinion": its key is unset, and each app decides. What
cannot be read as a number is handed on as it is, so that the one validator words the problem.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from starlette.datastructures import FormData

from llm_observe.control.rules.model import Edit, SettingsView
from llm_observe.control.ui import keyforms
from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.documents import Fragment, flatten, join_path
from llm_observe.settings.model import CaptureLevel
from llm_observe.settings.schema import parse

MAX_COMMENT = 500
MAX_HEADERS = 50

LEVELS: dict[CaptureLevel, tuple[str, str]] = {
    CaptureLevel.OFF: ("Off", "Model, timing, status and token counts. Nothing of the conversation."),
    CaptureLevel.METADATA: ("Metadata", "Also parameters, roles, message counts and lengths, and the session. No text."),
    CaptureLevel.REDACTED: ("Redacted", "Also prompts and answers, after detectors have replaced what looks personal or secret."),
    CaptureLevel.FULL: ("Full", "Prompts and answers exactly as they are."),
}  # fmt: skip
"""Name and meaning of each capture level, from least to most."""

GENERATIONS: dict[str, tuple[str, str]] = {
    "1.41": ("1.41", "Current names: gen_ai.provider.name, messages as attributes of the span."),
    "1.36": ("1.36", "For back ends that read no newer ones: gen_ai.system, messages as events of the span."),
}  # fmt: skip
"""Name and meaning of each release of the GenAI conventions."""


@dataclass(frozen=True, slots=True)
class DestinationForm:
    """The fields of one destination as texts, as they stand in the form."""

    name: str = ""
    endpoint: str = ""
    compression: str = ""
    timeout_s: str = ""
    enabled: str = ""
    signals: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A refused form: problems by path, and what was typed, to be shown again."""

    form: str
    problems: tuple[Problem, ...]
    typed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_path(self) -> dict[str, str]:
        """What stands beside each field."""
        return {p.path: f"Found {p.found}, expected {p.expected}." for p in self.problems}

    def others(self, shown: Iterable[str]) -> tuple[Problem, ...]:
        """The problems that no field of the form stands for."""
        known = set(shown)
        return tuple(problem for problem in self.problems if problem.path not in known)


def sampling(form: FormData, base: SettingsView) -> Edit:
    """The sampling card."""
    return _edit(form, base, {"sampling.ratio": _number(text_of(form, "ratio"))})


def capture(form: FormData, base: SettingsView) -> Edit:
    """The capture card."""
    return _edit(form, base, {"capture.level": text_of(form, "level")})


def conventions(form: FormData, base: SettingsView) -> Edit:
    """The conventions card."""
    return _edit(form, base, {"conventions.genai": text_of(form, "genai")})


def part(form: FormData, base: SettingsView) -> Edit:
    """The single keys of one part, as they were sent.

    Raises:
        SettingsError: A line is no pair.
    """
    return _edit(form, base, keyforms.part_values(form, text_of(form, "part")))


def entry(form: FormData, base: SettingsView) -> Edit:
    """One of a list, such as a rule, new or known.

    Raises:
        SettingsError: It has no name, nothing of it is set, or there is no such list.
    """
    prefix, name = text_of(form, "list"), text_of(form, "name")
    edit = _edit(form, base, keyforms.entry_values(form, prefix, name))
    if not edit.set and not _present(join_path((*prefix.split("."), name)), base.document):
        raise SettingsError([Problem("name", f"nothing set for {name!r}", "at least one field")])
    return edit


def without_entry(form: FormData, base: SettingsView) -> Edit:
    """One of a list taken out of this scope's settings."""
    names = (*text_of(form, "list").split("."), text_of(form, "name"))
    return _edit(form, base, {join_path(names): ""})


def destination(form: FormData, base: SettingsView) -> Edit:
    """One destination, new or known.

    Raises:
        SettingsError: It has no name, or a header stands there twice or without a name.
    """
    typed = typed_destination(form)
    if not typed.name:
        raise SettingsError([Problem("name", "nothing", "a name, such as phoenix")])
    values: dict[str, Any] = {
        "endpoint": typed.endpoint,
        "protocol": typed.protocol,
        "compression": typed.compression,
        "timeout_s": _number(typed.timeout_s),
        "enabled": {"true": True, "false": False}.get(typed.enabled, ""),
        "signals": list(typed.signals) or "",
        "headers": _headers(typed) or "",
    }
    own = {join_path(("destinations", typed.name, key)): value for key, value in values.items()}
    return _edit(form, base, {**keyforms.entry_values(form, "destinations", typed.name), **own})


def without_destination(form: FormData, base: SettingsView) -> Edit:
    """A destination taken out of this scope's settings."""
    return _edit(form, base, {join_path(("destinations", text_of(form, "name"))): ""})


def whole(form: FormData, base: SettingsView) -> Edit:
    """The text editor: the whole document.

    Raises:
        SettingsError: The text is no YAML mapping.
    """
    document = parse(text_of(form, "text").encode())
    edit = _edit(form, base, {})
    return Edit(base.service, document=document, comment=edit.comment, author=edit.author)


def typed_destination(form: FormData) -> DestinationForm:
    """The fields as they were typed."""
    names = [str(name).strip() for name in form.getlist("header_name")][:MAX_HEADERS]
    values = [str(value).strip() for value in form.getlist("header_value")][:MAX_HEADERS]
    return DestinationForm(
        text_of(form, "name"),
        text_of(form, "endpoint"),
        text_of(form, "compression"),
        text_of(form, "timeout_s"),
        text_of(form, "enabled"),
        tuple(str(signal) for signal in form.getlist("signals")),
        tuple(pair for pair in zip(names, values, strict=False) if any(pair)),
        text_of(form, "protocol"),
    )


def known_destinations(document: Fragment) -> list[DestinationForm]:
    """The destinations of a document as forms, by name."""
    return [
        DestinationForm(
            name,
            str(value.get("endpoint", "")),
            str(value.get("compression", "")),
            _plain(value.get("timeout_s")),
            {True: "true", False: "false"}.get(value.get("enabled"), ""),
            tuple(value.get("signals", ())),
            tuple((str(key), str(item)) for key, item in value.get("headers", {}).items()),
            str(value.get("protocol", "")),
        )
        for name, value in sorted(document.get("destinations", {}).items())
    ]


def as_yaml(document: Fragment) -> str:
    """A document as the text that the editor shows; empty for an empty document."""
    if not document:
        return ""
    text: str = yaml.safe_dump(dict(document), sort_keys=True, allow_unicode=True)
    return text


def value_at(document: Fragment, path: str) -> Any:
    """One leaf of a document, None where the document has no opinion."""
    return flatten(document).get(path)


def _edit(form: FormData, base: SettingsView, values: Mapping[str, Any]) -> Edit:
    """What differs from the settings as they are: only that is set or unset."""
    present = {path for path in values if _present(path, base.document)}
    return Edit(
        base.service,
        set={path: value for path, value in values.items() if value != ""},
        unset=[path for path in values if path in present and _replaced(values[path])],
        comment=text_of(form, "comment")[:MAX_COMMENT],
        author=text_of(form, "author")[:100],
    )


def _replaced(value: Any) -> bool:
    """Whether what is there must go first: an emptied field, or headers as a whole."""
    return value == "" or isinstance(value, Mapping)


def _present(path: str, document: Fragment) -> bool:
    return any(leaf == path or leaf.startswith(f"{path}.") for leaf in flatten(document))


def text_of(form: FormData, name: str) -> str:
    """What was typed into a field, without blanks around it."""
    return str(form.get(name) or "").strip()


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)


def _headers(typed: DestinationForm) -> dict[str, str]:
    names: Sequence[str] = [name for name, _ in typed.headers]
    for name in names:
        if not name:
            raise SettingsError([Problem("headers", "a header without a name", "a name for each")])
        if names.count(name) > 1:
            raise SettingsError([Problem("headers", f"{name} twice", "each header once")])
    return dict(typed.headers)
