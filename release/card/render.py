"""Rendering: a template and a context give text, or an error that names what is missing."""

import functools
from collections.abc import Callable
from pathlib import Path

import jinja2

from release.card.context import Context
from release.card.figures import number
from release.card.markdown import check
from release.card.metadata import front_matter
from release.card.typed import refuse_typed
from release.card.unmeasured import Unmeasured
from release.errors import ConfigError


def render(templates: Path, name: str, context: Context) -> str:
    """Render template ``name``. Raises ConfigError naming the template and what it lacks."""
    check(context)
    try:
        template = _environment(templates).get_template(name)
        text = template.render(context=context, front_matter=front_matter(context))
    except jinja2.TemplateNotFound as error:
        raise ConfigError(f"templates/{error.name}: no such template") from error
    except jinja2.UndefinedError as error:
        raise ConfigError(
            f"templates/{name}: {error.message}",
            why="A card with a gap is not a card: nothing is left empty.",
        ) from error
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"templates/{error.filename or name}:{error.lineno}: {error.message}") from error
    return text.rstrip("\n") + "\n"


class Checked(jinja2.FileSystemLoader):
    """Loads templates that no figure was typed into."""

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Return a template's source. Raises ConfigError naming a number that was typed by hand."""
        found = super().get_source(environment, template)
        refuse_typed(environment, template, found[0])
        return found


@functools.cache
def _environment(templates: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=Checked(templates),
        undefined=jinja2.StrictUndefined,
        finalize=_refuse_none,
        autoescape=False,  # noqa: S701 - this is Markdown; every value was checked for it
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = _count
    environment.filters["size"] = _size
    environment.filters["gib"] = _gib
    environment.filters["number"] = number
    return environment


def _refuse_none(value: object) -> object:
    if value is None:
        raise jinja2.UndefinedError("a value is None where the card needs one")
    return value


def _count(value: int | Unmeasured) -> str:
    """Return 1140000 as ``1,140,000``."""
    return str(value) if isinstance(value, Unmeasured) else f"{value:,}"


def _size(value: int | Unmeasured) -> str:
    """Return bytes in the decimal unit that disks and the Hub use, in one piece."""
    if isinstance(value, Unmeasured):
        return str(value)
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= size:
            return f"{value / size:.2f}\N{NO-BREAK SPACE}{unit}"
    return f"{value} bytes"


def _gib(value: int) -> str:
    """Return bytes of memory in the binary unit that memory is sold in."""
    return f"{value / 2**30:.3g} GiB"
