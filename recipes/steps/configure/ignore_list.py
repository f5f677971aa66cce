"""The ignore list: rendered from the recipe's patterns by a template, read back as JSON."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from recipes.formats import strict_json

TEMPLATE = "ignore.json.jinja"


def render_ignore(templates: Path, patterns: list[str]) -> list[str]:
    """Render ``ignore.json.jinja`` of folder ``templates`` with ``patterns``.

    Raises ValueError when there is no pattern, or when the template fails or does not
    give a JSON list of strings.
    """
    if not patterns or not all(pattern.strip("*") for pattern in patterns):
        raise ValueError(f"params.json: ignore: expected patterns that name something, got {patterns}")
    environment = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - JSON is no markup; escaping would change the patterns
    )
    environment.filters["tojson"] = json.dumps  # the default escapes <, > and & for HTML
    try:
        text = environment.get_template(TEMPLATE).render(patterns=patterns)
    except TemplateError as error:
        raise ValueError(f"{TEMPLATE}: {error}") from error
    return strict_json.strings({TEMPLATE: strict_json.loads(text, TEMPLATE)}, TEMPLATE, "templates")
