"""REST: timed capture grants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from llm_observe.control.api.answers import Actor, Serving
from llm_observe.control.rules.grants import LONGEST_S, GrantResult, GrantView, GrantWish
from llm_observe.control.rules.model import ChangeResult, Page
from llm_observe.settings.model import CaptureLevel

router = APIRouter(tags=["grants"])
Pattern = Annotated[str, Field(max_length=512)]
GrantId = Annotated[str, Path(min_length=1, max_length=64)]


class GrantMatch(BaseModel):
    """Which calls are meant; what is left out fits any. ``*`` and ``?`` are wildcards, ``|`` is or."""

    model_config = ConfigDict(extra="forbid")

    service: Pattern = ""
    provider: Pattern = ""
    model: Pattern = ""
    session: Pattern = ""
    user: Pattern = ""
    route: Pattern = ""
    attributes: Mapping[str, Pattern] = Field(default_factory=dict)


class GrantBody(BaseModel):
    """A grant to begin: either `for_s` or `until`."""

    model_config = ConfigDict(extra="forbid")

    service: Annotated[str, Field(max_length=255)] | None = Field(
        default=None, description="The service whose agents get it; null: all agents."
    )
    match: GrantMatch = Field(default_factory=GrantMatch)
    level: CaptureLevel = CaptureLevel.FULL
    for_s: float | None = Field(default=None, gt=0, le=LONGEST_S, description="Seconds from now.")
    until: str = Field(
        default="", max_length=40, description="Date and time with time zone.",
        examples=["2026-12-01T18:00:00Z"],
    )  # fmt: skip
    comment: str = Field(default="", max_length=2000)
    author: str = Field(default="", max_length=200, description="Who; else the name of the token.")
    dry_run: bool = Field(default=False, description="Only say which agents it would reach.")

    def wish(self, actor: str) -> GrantWish:
        """As the use case takes it."""
        return GrantWish(
            service=self.service or None, match=self.match.model_dump(exclude_defaults=True),
            level=str(self.level), for_s=self.for_s, until=self.until,
            comment=self.comment, author=self.author or actor,
        )  # fmt: skip


@router.get("/grants")
async def list_grants(service: Serving) -> Page[GrantView]:
    """Every grant that stands in what is wanted, and the agents in which it runs."""
    found = await service.grants()
    return Page(found, total=len(found))


@router.post("/grants", status_code=201, responses={200: {"model": GrantResult}})
async def begin_grant(
    service: Serving, actor: Actor, body: GrantBody, response: Response
) -> GrantResult:
    """Record more for some time: a new version of the settings, offered at once."""
    if body.dry_run:
        response.status_code = 200
        return await service.preview_grant(body.wish(actor))
    return await service.grant(body.wish(actor))


@router.delete("/grants/{name}")
async def end_grant(service: Serving, actor: Actor, name: GrantId) -> ChangeResult:
    """End a grant now, in every agent; it never begins again."""
    return await service.revoke(name, author=actor)
