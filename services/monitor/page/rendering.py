"""Templates to HTML. The environment escapes whatever a template puts out, and refuses a name that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from services.monitor.page import numbers
from services.monitor.page.assets import asset_address
from services.monitor.page.icons import ICONS
from services.monitor.page.language import HTML_CODES, NAMES
from services.monitor.page.visit import Visit
from services.monitor.page.words import Words

SERVICES = ("gateway", "guard", "inference", "audit", "monitor")


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("services.monitor.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "amount": numbers.amount,
        "clock": numbers.clock,
        "day": numbers.day,
        "asset": asset_address,
        "icons": ICONS,
        "kind": kind,
        "prose": prose,
        "languages": NAMES,
        "codes": HTML_CODES,
    }
    return made


def rendered(template: str, visit: Visit, context: Mapping[str, Any]) -> Markup:
    """Safe to be put into another template as it is."""
    words = Words(visit.language)
    own = {"t": words, "html_code": HTML_CODES[visit.language], "link": visit.link, "here": visit.here}
    return Markup(environment().get_template(template).render({**own, **context}))


def prose(text: str) -> Markup:
    """A text of ours in which `what stands in backticks` is code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def kind(service: str) -> str:
    """A class of the style sheet; only our own names become one."""
    return f"of-{service}" if service in SERVICES else "of-other"
