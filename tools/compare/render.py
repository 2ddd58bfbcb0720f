"""Renders the templates of the report; every value is escaped unless a template made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).with_name("templates")
_TEMPLATES = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)


def render(template: str, **values: Any) -> Markup:
    """A template of the folder `templates` with these values, marked as safe to stand in another."""
    return Markup(_TEMPLATES.get_template(template).render(**values))
