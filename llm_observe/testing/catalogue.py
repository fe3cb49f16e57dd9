"""The models of the fake Replicate: names, versions, and what their input must look like.

Field names, ranges and error texts follow Replicate's public HTTP API and the published schema
of its Llama models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from llm_observe.testing.engines import GenerationRequest

CREATED_AT = "2023-07-20T00:00:00.000000Z"

DEFAULT_MAX_TOKENS = 512
MOST_TOKENS = 4096
MOST_CHARACTERS = 200_000


def version_of(model: str) -> str:
    """A version id for a model that has no known one: 64 hex digits, always the same."""
    return sha256(model.encode()).hexdigest()


LLAMA_MODELS: Mapping[str, str] = MappingProxyType(
    {
        "meta/llama-2-7b-chat": "13c3cdee13ee059ab779f0291d29054dab00a47dad8261375654de5540165fb0",
        "meta/llama-2-13b-chat": "f4e2de70d66816a838a89eeeb621910adffb0dd0baba3976c96980970978018d",
        "meta/llama-2-70b-chat": "02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3",
        **{
            name: version_of(name)
            for name in (
                "meta/llama-2-7b",
                "meta/llama-2-13b",
                "meta/llama-2-70b",
                "meta/meta-llama-3-8b-instruct",
                "meta/meta-llama-3-70b-instruct",
            )
        },
    }
)
"""The models served unless told otherwise: name → version id."""


@dataclass(frozen=True, slots=True)
class Field:
    """What one input key may hold."""

    said: str
    kinds: tuple[type, ...]
    least: float | None = None
    most: float | None = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, in the API's words; None when nothing is."""
        if isinstance(value, bool) or not isinstance(value, self.kinds):
            return f"Invalid type. Expected: {self.said}, given: {type(value).__name__}"
        return self._range_problem(value) if isinstance(value, int | float) else None

    def _range_problem(self, value: float) -> str | None:
        if self.least is not None and value < self.least:
            return f"Must be greater than or equal to {self.least:g}"
        if self.most is not None and value > self.most:
            return f"Must be less than or equal to {self.most:g}"
        return None


_STRING: tuple[str, tuple[type, ...]] = ("string", (str,))
_NUMBER: tuple[str, tuple[type, ...]] = ("number", (int, float))
_INTEGER: tuple[str, tuple[type, ...]] = ("integer", (int,))
FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "prompt": Field(*_STRING),
        "system_prompt": Field(*_STRING),
        "prompt_template": Field(*_STRING),
        "stop_sequences": Field(*_STRING),
        "temperature": Field(*_NUMBER, 0, 5),
        "top_p": Field(*_NUMBER, 0, 1),
        "top_k": Field(*_INTEGER, -1, 1_000_000),
        "max_new_tokens": Field(*_INTEGER, 1, MOST_TOKENS),
        "max_tokens": Field(*_INTEGER, 1, MOST_TOKENS),
        "min_new_tokens": Field(*_INTEGER, -1, MOST_TOKENS),
        "seed": Field(*_INTEGER),
    }
)


def input_problems(given: Any, most_characters: int = MOST_CHARACTERS) -> dict[str, str]:
    """Check an input; the answer maps each wrong key to what is wrong. Unknown keys are let by."""
    if not isinstance(given, dict):
        return {"input": "input is required"}
    if "prompt" not in given and not is_chat(given.get("messages")):
        return {"input": "prompt is required"}
    wrong = {
        f"input.{key}": problem
        for key, rule in FIELDS.items()
        if given.get(key) is not None and (problem := rule.problem(given[key]))
    }
    size = sum(len(value) for value in given.values() if isinstance(value, str))
    return wrong | ({"input": "too long"} if size > most_characters else {})


def is_chat(messages: Any) -> bool:
    """Whether this is a list of turns, as the newer language models take beside a prompt."""
    turns = messages if isinstance(messages, list) else []
    return bool(turns) and all(isinstance(turn, dict) and "content" in turn for turn in turns)


def generation_request(given: Mapping[str, Any]) -> GenerationRequest:
    """Read a checked input as a question to the engine."""
    stop = str(given.get("stop_sequences") or "").split(",")
    top_k = given.get("top_k")
    return GenerationRequest(
        prompt=_prompt(given),
        system_prompt=_system_prompt(given),
        temperature=given.get("temperature"),
        top_p=given.get("top_p"),
        top_k=top_k if top_k and top_k > 0 else None,
        seed=given.get("seed"),
        max_tokens=given.get("max_new_tokens") or given.get("max_tokens") or DEFAULT_MAX_TOKENS,
        stop=tuple(text for text in stop if text),
    )


def _prompt(given: Mapping[str, Any]) -> str:
    """Apply a `prompt_template` that only wraps the prompt; chat markup is the engine's affair."""
    prompt = str(given["prompt"]) if "prompt" in given else _as_text(given["messages"])
    template = given.get("prompt_template") or "{prompt}"
    plain = "{prompt}" in template and "[INST]" not in template and "<|" not in template
    return template.replace("{prompt}", prompt) if plain else prompt


def _as_text(messages: list[dict[str, Any]]) -> str:
    """Turns as one prompt, in the notation that `llm_observe.testing.dialogue` reads."""
    return "\n".join(
        f"{'Assistant' if turn.get('role') == 'assistant' else 'User'}: {turn['content']}"
        for turn in messages
        if turn.get("role") != "system"
    )


def _system_prompt(given: Mapping[str, Any]) -> str | None:
    """The system prompt, or the system's turns of a chat."""
    turns = given.get("messages") if "prompt" not in given else []
    said = [str(turn["content"]) for turn in turns or [] if turn.get("role") == "system"]
    return given.get("system_prompt") or "\n".join(said) or None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is served: models by name, and deployments that point at them."""

    models: Mapping[str, str]
    deployments: Mapping[str, str]
    official: Collection[str] = ()

    def version_of(self, model: str) -> str:
        """The version id of a model. KeyError: no such model."""
        return self.models[model]

    def model_of_version(self, version: str) -> str:
        """The model of ``id`` or ``owner/name:id``. KeyError: no such version."""
        wanted = version.rpartition(":")[2]
        return {version_id: name for name, version_id in self.models.items()}[wanted]

    def model(self, name: str) -> dict[str, Any]:
        """A model as the API shows it. KeyError: no such model."""
        return model_json(name, self.version_of(name))

    def version(self, name: str, version_id: str) -> dict[str, Any]:
        """A version as the API shows it. KeyError: the model has no such version."""
        if self.version_of(name) != version_id:
            raise KeyError(version_id)
        return version_json(version_id)

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment as the API shows it. KeyError: no such deployment."""
        model = self.deployments[name]
        return deployment_json(name, model, self.version_of(model))


def version_json(version_id: str) -> dict[str, Any]:
    """A model version as the API shows it: its output is an array that is iterated."""
    properties = {key: {"title": key, "type": rule.said} for key, rule in FIELDS.items()}
    schemas = {
        "Input": {"type": "object", "required": ["prompt"], "properties": properties},
        "Output": {
            "type": "array",
            "items": {"type": "string"},
            "x-cog-array-type": "iterator",
            "x-cog-array-display": "concatenate",
        },
    }
    return {
        "id": version_id,
        "created_at": CREATED_AT,
        "cog_version": "0.9.0",
        "openapi_schema": {"openapi": "3.0.2", "components": {"schemas": schemas}},
    }


def model_json(name: str, version_id: str) -> dict[str, Any]:
    """A model as the API shows it."""
    owner, _, short = name.partition("/")
    return {
        "url": f"https://replicate.com/{name}",
        "owner": owner,
        "name": short,
        "description": "Served by llm_observe.testing",
        "visibility": "public",
        "run_count": 0,
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_json(version_id),
    }


def deployment_json(name: str, model: str, version_id: str) -> dict[str, Any]:
    """A deployment as the API shows it."""
    owner, _, short = name.partition("/")
    account = {"type": "organization", "username": owner, "name": owner, "github_url": None}
    return {
        "owner": owner,
        "name": short,
        "current_release": {
            "number": 1,
            "model": model,
            "version": version_id,
            "created_at": CREATED_AT,
            "created_by": account,
            "configuration": {"hardware": "cpu", "min_instances": 0, "max_instances": 1},
        },
    }
