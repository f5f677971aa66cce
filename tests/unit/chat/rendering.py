"""Rendering a chat template by plain jinja2, in the sandbox that transformers uses."""

import functools
import json
from pathlib import Path
from typing import NoReturn

from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.unit.chat.cases import Case

TEMPLATE = Path(__file__).resolve().parents[3] / "recipes" / "templates" / "chat_template.jinja"


def render(case: Case) -> str:
    """Return what the release's template makes of ``case``."""
    return _template().render(**{"add_generation_prompt": True, **case})


@functools.cache
def _template() -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    return environment.from_string(TEMPLATE.read_text())


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
