"""The ignore list: derived from what is packed, rendered by a template, read back as JSON."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from recipes.formats import strict_json
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.ignore_compiler import VLLM, compile_ignore
from recipes.formats.nvfp4 import WEIGHT_SCALE
from recipes.formats.qwen3_5 import module_of

TEMPLATE = "ignore.json.jinja"


def derive_ignore(tree: Path) -> list[str]:
    """Return the shortest list that keeps BF16 what is not packed in the checkpoint ``tree``.

    Nobody types it: an option of the recipe changes the bytes, and the list follows. Raises
    ValueError naming a module when no list can say it.
    """
    names = open_checkpoint(tree).tensors
    packed = {module_of(name) for name in names if name.endswith(f".{WEIGHT_SCALE}")}
    kept = {module_of(name) for name in names} - packed
    return list(compile_ignore(kept, packed, VLLM))


def render_ignore(templates: Path, patterns: list[str]) -> list[str]:
    """Render ``ignore.json.jinja`` of folder ``templates`` with ``patterns``.

    Raises ValueError when there is no pattern, or when the template fails or does not
    give a JSON list of strings.
    """
    if not patterns or not all(pattern.strip("*") for pattern in patterns):
        raise ValueError(f"ignore: expected patterns that name something, got {patterns}")
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
