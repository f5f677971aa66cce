"""The card's YAML: what the Hub draws the model tree, the tabs and the filters from."""

import re

from release.card.context import Context
from release.card.facts import RECIPE_FILE, CardFacts
from release.card.unmeasured import Unmeasured
from release.errors import ConfigError

_LANGUAGE = re.compile(r"[a-z]{2,3}|multilingual")
_TAG = re.compile(r"[a-z0-9][a-z0-9._:-]*")
_DATASET_URL = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)")


def front_matter(context: Context) -> str:
    """Return the YAML between the two ``---`` lines, with a final newline.

    The model tree of the Hub is base, then master (finetune), then nvfp4 (quantized).
    """
    # Imported here: a release that changes nothing renders no card.
    from huggingface_hub import ModelCardData

    facts, target = context.facts, context.target
    _lint(facts)
    nvfp4 = target.kind == "nvfp4"
    data = ModelCardData(
        license=facts.license.lower(),
        language=list(facts.languages),
        library_name="transformers",
        pipeline_tag=_pipeline(context),
        base_model=target.sibling.repo if nvfp4 else facts.base.repo,
        base_model_relation="quantized" if nvfp4 else "finetune",
        datasets=_datasets(facts) or None,
        tags=_tags(facts, nvfp4=nvfp4),
        quantized_by=facts.author if nvfp4 else None,
    )
    return data.to_yaml(line_break="\n") + "\n"


def _lint(facts: CardFacts) -> None:
    """Refuse what the Hub would not file: a language that is no code, a tag of several words."""
    for key, values, form, expected in (
        ("languages", facts.languages, _LANGUAGE, "an ISO 639 code such as en"),
        ("tags", facts.tags, _TAG, "one word in small letters"),
    ):
        for value in values:
            if not form.fullmatch(value):
                raise ConfigError(f"{RECIPE_FILE}: card.{key}: expected {expected}, got {value!r}")


def _pipeline(context: Context) -> str:
    """Return the tag that the Hub's "Use this model" needs; a draft says what the recipe says."""
    shape = context.architecture
    vision = context.facts.vision_frozen if isinstance(shape, Unmeasured) else shape.vision
    return "image-text-to-text" if vision else "text-generation"


def _tags(facts: CardFacts, *, nvfp4: bool) -> list[str]:
    own = ["nvfp4", "modelopt"] if nvfp4 else ["bf16"]
    shared = ["mtp", "speculative-decoding", "vllm", "conversational"]
    papers = [f"arxiv:{number}" for number in facts.papers]
    return list(dict.fromkeys([*own, *shared, *facts.tags, *papers]))


def _datasets(facts: CardFacts) -> list[str]:
    found = (_DATASET_URL.fullmatch(dataset.url) for dataset in facts.datasets)
    return list(dict.fromkeys(match.group(1) for match in found if match))
