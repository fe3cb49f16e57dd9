"""Numbers that states give to people: found by shape, believed by their check digits.

The check digits are python-stdnum's (extra ``llm-observe[privacy]``). Where the shape alone says
much, the detector is among those that level ``redacted`` runs; where any number of so many digits
may pass (one in ten, by its check digit), it must be asked for by name.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from llm_observe.policy.finding import Detector, Shape, detector, if_so


class Scheme(NamedTuple):
    """One kind of number: its shape as RE2 and Python read it, and who knows its check digits."""

    name: str
    shape: str
    module: str
    telling: bool
    """Whether the shape alone says much."""


_B = r"[ -]?"

SCHEMES: tuple[Scheme, ...] = (
    Scheme("id-cn", r"[1-9][0-9]{5} ?[0-9]{8} ?[0-9]{3}[0-9Xx]", "stdnum.cn.ric", True),
    Scheme("id-us", r"[0-9]{3}-[0-9]{2}-[0-9]{4}", "stdnum.us.ssn", True),
    Scheme("id-gb-nhs", r"[0-9]{3} [0-9]{3} [0-9]{4}", "stdnum.gb.nhs", True),
    Scheme("id-in", r"[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}", "stdnum.in_.aadhaar", True),
    Scheme("id-br", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "stdnum.br.cpf", True),
    Scheme("id-es", r"[0-9]{8}-?[A-Za-z]", "stdnum.es.dni", True),
    Scheme("id-es", r"[XYZxyz]-?[0-9]{7}-?[A-Za-z]", "stdnum.es.nie", True),
    Scheme(
        "id-it",
        r"[A-Za-z]{6}[0-9]{2}[A-Za-z][0-9]{2}[A-Za-z][0-9]{3}[A-Za-z]",
        "stdnum.it.codicefiscale",
        True,
    ),
    Scheme(
        "id-fr",
        rf"[1-478]{_B}[0-9]{{2}}{_B}[0-9]{{2}}{_B}[0-9][0-9ABab]{_B}[0-9]{{3}}{_B}[0-9]{{3}}{_B}[0-9]{{2}}",
        "stdnum.fr.nir",
        True,
    ),
    Scheme("id-kr", r"[0-9]{6}-[0-9]{7}", "stdnum.kr.rrn", True),
    Scheme(
        "id-mx", r"[A-Za-z]{4}[0-9]{6}[HMXhmx][A-Za-z]{5}[0-9A-Za-z][0-9]", "stdnum.mx.curp", True
    ),
    Scheme("id-fi", r"[0-9]{6}[-+A-FU-Ya-fu-y][0-9]{3}[0-9A-Za-z]", "stdnum.fi.hetu", True),
    Scheme("id-se", r"[0-9]{6}(?:[0-9]{2})?[-+][0-9]{4}", "stdnum.se.personnummer", True),
    Scheme("id-be", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", "stdnum.be.nn", True),
    Scheme("id-ch", r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}", "stdnum.ch.ssn", True),
    Scheme("id-cl", r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9Kk]", "stdnum.cl.rut", True),
    Scheme("id-za", r"[0-9]{13}", "stdnum.za.idnr", False),
    Scheme("id-pl", r"[0-9]{11}", "stdnum.pl.pesel", False),
    Scheme("id-de", r"[1-9][0-9]{10}", "stdnum.de.idnr", False),
    Scheme("id-tr", r"[1-9][0-9]{10}", "stdnum.tr.tckimlik", False),
    Scheme("id-no", r"[0-9]{11}", "stdnum.no.fodselsnummer", False),
    Scheme("id-dk", r"[0-9]{6}-?[0-9]{4}", "stdnum.dk.cpr", False),
    Scheme("id-nl", r"[0-9]{9}", "stdnum.nl.bsn", False),
    Scheme("id-ca", r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}", "stdnum.ca.sin", False),
    Scheme("id-au", r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", "stdnum.au.tfn", False),
)
"""All of them. A shape is bounded in length, so that looking for it is linear in the text."""


@cache
def installed() -> bool:
    """Whether the check digits are known here."""
    return importlib.util.find_spec("stdnum") is not None


def detectors(*, telling: bool | None = None) -> tuple[Detector, ...]:
    """The detectors of this machine; ``telling``: only those whose shape alone says much, or not."""
    if not installed():
        return ()
    return tuple(
        detector(scheme.name, _finder(scheme))
        for scheme in SCHEMES
        if telling is None or scheme.telling is telling
    )


@cache
def _finder(scheme: Scheme) -> Shape:
    apart = " " in scheme.shape  # in a row of groups, one group more makes it something else
    before = r"(?<![A-Za-z0-9.-])" + (r"(?<![0-9][ -])" if apart else "")
    after = r"(?![A-Za-z0-9]|[.-][0-9])" + (r"(?![ -][0-9])" if apart else "")
    return Shape(
        scheme.shape,
        rf"{before}(?:{scheme.shape}){after}",
        before=24,
        spans=if_so(lambda found: _believes(scheme, found.group())),
    )


def _believes(scheme: Scheme, number: str) -> bool:
    valid = _checker(scheme.module)
    return valid(number) or (" " in number and valid(number.replace(" ", "")))


@cache
def _checker(module: str) -> Callable[[str], bool]:
    """Loaded when the first number of this shape is seen."""
    checker: Callable[[str], bool] = importlib.import_module(module).is_valid
    return checker
