"""The inputs of a card as the steps write them, for a release of a tiny model."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from recipes.formats import calibration, evidence
from recipes.formats.calibration import Calibration, Range
from recipes.formats.evidence import Evidence, Measurement, Proof
from release.digest import File, Json, Tree, sha256_file
from release.gates.step import GATE
from release.hoststep import Input, Inputs

PROJECT = Path(__file__).parents[3]
TEMPLATES = PROJECT / "recipes" / "templates"
DIGEST = "0123456789abcdef" * 4

PROOFS = (
    ("mtp-verbatim-master", "15 tensors equal"),
    ("mtp-verbatim-nvfp4", "15 tensors equal"),
    ("vision-verbatim-master", "44 tensors equal"),
    ("vision-verbatim-nvfp4", "44 tensors equal"),
    ("repack", "29 Linears, 0 bytes differ"),
)

LINEAGE: Json = {
    "compared": "every tensor of the base",
    "vision_frozen": True,
    "classes": {
        "mlp": {"equal": 0, "changed": 12, "only_base": 0, "only_master": 0},
        "mtp": {"equal": 0, "changed": 0, "only_base": 15, "only_master": 0},
        "vision": {"equal": 44, "changed": 0, "only_base": 0, "only_master": 0},
    },
}

CARD: dict[str, Json] = {
    "title": "Graftsmith Tiny",
    "author": "the graftsmith authors",
    "year": 2026,
    "summary": "A model of about one million parameters that goes the whole way of a release.",
    "hardware": "any x86-64 CPU with 4 GiB of memory",
    "languages": ["en", "de"],
    "base": {
        "repo": "graftsmith/tiny-base",
        "license": "Apache-2.0",
        "copyright": "© the graftsmith authors",
    },
    "draft_head": "base",
    "vision_frozen": True,
    "post_training": "language model trained further on synthetic dialogues",
    "datasets": [
        {"stage": "all", "name": "synthetic dialogues of recipes/tiny/corpus.py", "license": "Apache-2.0"}
    ],
    "attributions": [{"name": "Qwen team", "text": "the Qwen3.5 architecture, Apache-2.0"}],
    "limits": ["It exists to test the release; its answers mean nothing."],
}

SERVE: dict[str, Json] = {
    "max_model_len": 2048,
    "max_num_seqs": 64,
    "max_num_batched_tokens": 2048,
    "kv_cache_bytes": 268435456,
    "quantization": "modelopt_fp4",
    "speculative_tokens": 2,
    "enforce_eager": True,
    "language_model_only": True,
    "prefix_caching": False,
    "expect_kernel": "CpuNvFp4LinearKernel",
    "extra_flags": [],
}

SAMPLING: dict[str, Json] = {
    "temperature": 0.7,
    "top_p": 0.95,
    "top_k": 20,
    "repetition_penalty": 1.1,
    "max_tokens": 128,
    "seed": 1,
}

FLOORS: dict[str, Json] = {
    "overhead": 3 << 30,
    "floor": 1 << 30,
    "startup_floor": 1 << 29,
    "swap_growth": 4 << 30,
    "pressure": 80.0,
    "return_within": 0,
}

CONFIG: dict[str, Json] = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "model_type": "qwen3_5",
    "text_config": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "full_attention_interval": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "linear_num_key_heads": 1,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "mtp_num_hidden_layers": 1,
        "vocab_size": 512,
        "max_position_embeddings": 4096,
    },
    "vision_config": {"depth": 2},
    "quantization_config": {
        "config_groups": {"group_0": {"weights": {"group_size": 16, "num_bits": 4}}},
        "ignore": ["*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*"],
        "producer": {"name": "modelopt", "version": "0.47.0"},
    },
}


CALIBRATION = Calibration(
    ranges=(
        Range(members=("model.language_model.layers.0.mlp.down_proj",), input_amax=3.5, input_scale=0.5),
    ),
    rows=20,
    tokens=4096,
    max_seq_len=512,
    versions={"modelopt": "0.47.0", "torch": "2.13.0"},
)


@dataclass
class Case:
    """A release whose parts a test may change before it is written."""

    proofs: dict[str, bool] = field(default_factory=lambda: {name: True for name, _ in PROOFS})
    acceptance: dict[str, float] = field(default_factory=lambda: {"nvfp4": 2.65, "master": 2.66})
    lm_head: str = "BF16"
    calibration: Calibration = field(default_factory=lambda: CALIBRATION)
    extra_flags: list[str] = field(default_factory=list)
    lineage: Json = field(default_factory=lambda: LINEAGE)
    fidelity: bool = True
    how: str = "1 + accepted / drafts over 812 drafts in 36 replies"
    gates: list[Json] = field(
        default_factory=lambda: [
            {"name": "acceptance-length", "figure": "smoke-nvfp4.acceptance_length", "at_least": 2.5, "k": 2},
            {
                "name": "acceptance-length-vs-master",
                "figure": "smoke-nvfp4.acceptance_length",
                "relative_to": "smoke-master.acceptance_length",
                "at_least": 0.95,
            },
        ]
    )

    def write(self, root: Path) -> Inputs:
        """Write every input below ``root``."""
        for name in ("tree", "sibling"):
            write(root / name / "config.json", json.dumps(CONFIG))
        write(root / "prove/evidence.json", evidence.dump(self._proved()))
        write(root / "prove/ledger.json", json.dumps(ledger(self.lm_head)))
        write(root / "prove/ledger.svg", '<svg xmlns="http://www.w3.org/2000/svg"/>')
        for kind in ("nvfp4", "master"):
            write(root / f"smoke-{kind}/evidence.json", evidence.dump(self._smoke(kind)))
            write(root / f"smoke-{kind}/replies.jsonl", '{"id": "a"}\n' * 36)
        write(root / "calibrate/calibration.json", calibration.dump(self.calibration))
        write(root / "calibrate/evidence.json", evidence.dump(Evidence()))
        judged = {name: shown(root / name) for name in ("prove", "smoke-nvfp4", "smoke-master")}
        for name, data in GATE.function(judged, {"gates": self.gates}).new.items():
            write(root / "gate" / name, data.decode())
        names = (*judged, "gate", "calibrate", "tree", "sibling", *(["fidelity"] if self.fidelity else []))
        if self.fidelity:
            write(root / "fidelity/evidence.json", evidence.dump(compared()))
        return {**{name: shown(root / name) for name in names}, "templates": shown(TEMPLATES)}

    def _proved(self) -> Evidence:
        found = dict(PROOFS)
        return Evidence(
            proofs=tuple(
                Proof(name=name, holds=holds, compared="bytes", found=found[name] if holds else "3 differ")
                for name, holds in self.proofs.items()
            ),
            facts={"in_proj_ab": "nvfp4", "lineage": self.lineage},
        )

    def _smoke(self, kind: str) -> Evidence:
        figures = [
            Measurement(name="output_tokens_per_second_c1", value=102.03, unit="tokens/s", n=24, how="wall")
        ]
        if kind in self.acceptance:
            value = self.acceptance[kind]
            figures.append(
                Measurement(name="acceptance_length", value=value, unit="tokens/draft", n=36, how=self.how)
            )
        kernel = "Using CpuNvFp4LinearKernel for NVFP4 GEMM" if kind == "nvfp4" else None
        serve = SERVE if kind == "nvfp4" else {**SERVE, "quantization": None, "expect_kernel": None}
        profile = {"serve": {**serve, "extra_flags": self.extra_flags}, "sampling": SAMPLING}
        return Evidence(
            measurements=tuple(figures),
            facts={
                "engine": "vllm",
                "engine_version": "0.32.0",
                "kernel": kernel,
                "profile": profile,
                "speculative_tokens": 2,
            },
        )


def compared() -> Evidence:
    """Return what master and release were compared to, over two domains."""
    figures = {
        "kl_mean": (0.0312, "nats/token"),
        "kl_median": (0.0041, "nats/token"),
        "kl_p99": (0.61, "nats/token"),
        "top1_agreement": (0.9421, "share"),
        "perplexity_master": (6.11, ""),
        "perplexity_nvfp4": (6.23, ""),
        "perplexity_ratio": (1.0196, "share"),
    }
    measured = [
        Measurement(
            name=f"{name}.{domain}" if domain else name, value=value * more, unit=unit, n=n, how="4541 texts"
        )
        for domain, more, n in (("", 1.0, 4541), ("code", 0.5, 2000), ("german", 1.25, 2541))
        for name, (value, unit) in figures.items()
    ]
    tower = Measurement(name="vision_relative_error", value=0.0, unit="share", n=4, how="4 images")
    stretches = [{"from": 0, "kl": 0.07, "n": 16}, {"from": 64, "kl": 0.02, "n": 200}]
    return Evidence(
        measurements=(*measured, tower),
        facts={"computed_as": "W4A4", "kl_by_position": {"code": stretches, "german": stretches}},
    )


def params(kind: str) -> dict[str, Json]:
    """Return the params of the card of one kind."""
    repos = {"nvfp4": "graftsmith/tiny-NVFP4-MTP", "master": "graftsmith/tiny"}
    sibling = "master" if kind == "nvfp4" else "nvfp4"
    return {
        "recipe": "tiny",
        "kind": kind,
        "version": "1.0.0",
        "repo": repos[kind],
        "sibling_repo": repos[sibling],
        "sources": {"base": DIGEST, "master": DIGEST},
        "card": CARD,
        "lock": DIGEST,
        "images": {"quantize": DIGEST, "serve": DIGEST},
        "machine": {"cpu": "AMD EPYC", "cores": "2", "engine": "local", "memory": "24 GiB"},
        "floors": FLOORS,
        "gpu": False,
    }


def ledger(lm_head: str) -> Json:
    """Return the ledger of both trees."""
    whole: dict[str, Json] = {
        "embedding": _line(1, 65536, 131072, {"BF16": 1}),
        "lm_head": _line(1, 65536, 131072, {lm_head: 1}),
        "full_attention": _line(6, 131200, 262400, {"BF16": 6}),
        "mlp": _line(12, 393216, 786432, {"BF16": 12}),
        "linear_attention": _line(21, 200000, 400000, {"BF16": 21}),
        "norm": _line(9, 1152, 2304, {"BF16": 9}),
        "conv1d": _line(3, 6144, 12288, {"BF16": 3}),
        "vision": _line(44, 150000, 300000, {"BF16": 44}),
        "mtp": _line(15, 262912, 525824, {"BF16": 15}),
    }
    packed: dict[str, Json] = {
        name: _line(20, 131072, 73744, {"BF16": 2, "F32": 8, "F8_E4M3": 4, "U8": 4})
        for name in ("full_attention", "linear_attention", "mlp")
    }
    return {"format": 1, "trees": {"master": {"classes": whole}, "nvfp4": {"classes": {**whole, **packed}}}}


def _line(tensors: int, parameters: int, size: int, dtypes: dict[str, Json]) -> Json:
    return {"tensors": tensors, "parameters": parameters, "bytes": size, "dtypes": dtypes}


def shown(folder: Path) -> Input:
    """Return a folder as a host step sees it."""
    files = {
        path.relative_to(folder).as_posix(): File(sha256_file(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Input(folder, Tree(files))


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
