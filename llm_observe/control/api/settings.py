"""REST: settings, their versions, undo and progress."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from llm_observe.control.api.agents import Cursor
from llm_observe.control.api.answers import Actor, Serving
from llm_observe.control.rules.model import (
    ChangeResult,
    Edit,
    Page,
    Progress,
    SettingsView,
    VersionDetail,
    VersionSummary,
)
from llm_observe.settings.schema import json_schema, parse

router = APIRouter(tags=["settings"])
Number = Annotated[int, Path(ge=1, le=2**53)]
Name = Annotated[str, Field(max_length=255)]
ServiceQuery = Annotated[str | None, Query(max_length=255, description="None: all agents")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    service: Name | None = Field(
        default=None, description="The service it is for; null: all agents."
    )
    comment: str = Field(default="", max_length=2000)
    author: str = Field(default="", max_length=200, description="Who; else the name of the token.")


class SettingsPatch(_Body):
    """Keys to set and to unset, by path; everything else stays."""

    set: dict[Annotated[str, Field(max_length=1024)], Any] = Field(
        default_factory=dict, examples=[{"sampling.ratio": 0.5}]
    )
    unset: list[Annotated[str, Field(max_length=1024)]] = Field(default_factory=list)
    dry_run: bool = Field(default=False, description="Only say what would happen.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.set and not self.unset:
            raise ValueError("something to set or to unset")
        return self


class SettingsPut(_Body):
    """A whole document, as a mapping or as YAML or JSON text."""

    document: dict[str, Any] | None = None
    text: str | None = Field(default=None, description="The document as YAML or JSON.")
    dry_run: bool = Field(default=False, description="Only say what would happen.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.document is None) == (self.text is None):
            raise ValueError("either document or text")
        return self


class UndoBody(_Body):
    """Which scope, where no version is named."""


@router.get("/settings")
async def get_settings(
    service: Serving, name: Annotated[ServiceQuery, Query(alias="service")] = None
) -> SettingsView:
    """What is wanted of one service, or of all agents."""
    return await service.settings(name or None)


@router.patch("/settings", status_code=201, responses={200: {"model": ChangeResult}})
async def change_settings(
    service: Serving, actor: Actor, body: SettingsPatch, response: Response
) -> ChangeResult:
    """Merge keys into what is wanted: a new version, offered at once to whom it concerns."""
    edit = Edit(
        body.service or None, body.set, body.unset,
        comment=body.comment, author=body.author or actor,
    )  # fmt: skip
    return await _make(service, edit, body.dry_run, response)


@router.put("/settings", status_code=201, responses={200: {"model": ChangeResult}})
async def replace_settings(
    service: Serving, actor: Actor, body: SettingsPut, response: Response
) -> ChangeResult:
    """Replace what is wanted by a document: a new version, offered at once."""
    document = parse((body.text or "").encode()) if body.document is None else body.document
    edit = Edit(
        body.service or None, document=document,
        comment=body.comment, author=body.author or actor,
    )  # fmt: skip
    return await _make(service, edit, body.dry_run, response)


async def _make(service: Serving, edit: Edit, dry_run: bool, response: Response) -> ChangeResult:
    if dry_run:
        response.status_code = 200
        return await service.preview(edit)
    return await service.change(edit)


@router.get("/versions")
async def list_versions(
    service: Serving,
    name: Annotated[str | None, Query(alias="service", max_length=255)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
) -> Page[VersionSummary]:
    """The history, newest first: of one service, or of all scopes."""
    return await service.versions(service=name or None, limit=limit, cursor=cursor)


@router.get("/versions/{number}")
async def get_version(service: Serving, number: Number) -> VersionDetail:
    """One version with its document and what it changed in its scope."""
    return await service.version(number)


@router.get("/versions/{number}/progress")
async def get_progress(service: Serving, number: Number) -> Progress:
    """Who has acknowledged a version, who refused it and why, who is silent."""
    return await service.progress(number)


@router.post("/versions/{number}/undo", status_code=201)
async def undo_version(
    service: Serving, actor: Actor, number: Number, body: UndoBody | None = None
) -> ChangeResult:
    """A new version that restores what its scope wanted before this version."""
    said = body or UndoBody()
    return await service.undo(number, author=said.author or actor, comment=said.comment)


@router.post("/undo", status_code=201)
async def undo_newest(service: Serving, actor: Actor, body: UndoBody | None = None) -> ChangeResult:
    """A new version that takes back the newest one of a scope (a second undo takes back the first)."""
    said = body or UndoBody()
    return await service.undo(
        service=said.service or None, author=said.author or actor, comment=said.comment
    )


@router.get("/schema")
async def get_schema() -> dict[str, Any]:
    """The JSON Schema of the settings document."""
    return json_schema()
