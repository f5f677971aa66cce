"""The card's YAML: what the Hub draws the model tree, the tabs and the filters from."""

import re

from release.card.context import Context
from release.card.facts import CardFacts

_DATASET_URL = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)")


def front_matter(context: Context) -> str:
    """Return the YAML between the two ``---`` lines, with a final newline.

    The model tree of the Hub is base, then master (finetune), then nvfp4 (quantized).
    """
    # Imported here: a release that changes nothing renders no card.
    from huggingface_hub import ModelCardData

    facts, target = context.facts, context.target
    nvfp4 = target.kind == "nvfp4"
    data = ModelCardData(
        license=facts.license.lower(),
        language=list(facts.languages),
        library_name="transformers",
        pipeline_tag="image-text-to-text" if context.architecture.vision else "text-generation",
        base_model=target.sibling.repo if nvfp4 else facts.base.repo,
        base_model_relation="quantized" if nvfp4 else "finetune",
        datasets=_datasets(facts) or None,
        tags=_tags(facts, nvfp4=nvfp4),
    )
    return data.to_yaml(line_break="\n") + "\n"


def _tags(facts: CardFacts, *, nvfp4: bool) -> list[str]:
    own = ["nvfp4", "modelopt"] if nvfp4 else ["bf16"]
    return list(dict.fromkeys([*own, "mtp", "speculative-decoding", "vllm", "conversational", *facts.tags]))


def _datasets(facts: CardFacts) -> list[str]:
    found = (_DATASET_URL.fullmatch(dataset.url) for dataset in facts.datasets)
    return list(dict.fromkeys(match.group(1) for match in found if match))
