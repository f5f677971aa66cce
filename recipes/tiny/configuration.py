"""The configuration files of both checkpoints: the 27B original's fields, scaled down."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from recipes.tiny.corpus import Json
from recipes.tiny.vocabulary import VOCABULARY_SIZE

HIDDEN_SIZE = 128
LAYERS = 4


def model_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Json]:
    """Return the fields of the 27B original's config.json, scaled down."""
    token = tokenizer.convert_tokens_to_ids
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "image_token_id": token("<|image_pad|>"),
        "language_model_only": False,
        "model_type": "qwen3_5",
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "attn_output_gate": True,
            "bos_token_id": token("<|endoftext|>"),
            "dtype": "bfloat16",
            "eos_token_id": token("<|im_end|>"),
            "full_attention_interval": 4,
            "head_dim": 64,
            "hidden_act": "silu",
            "hidden_size": HIDDEN_SIZE,
            "initializer_range": 0.06,
            "intermediate_size": 256,
            "layer_types": [
                "full_attention" if (i + 1) % 4 == 0 else "linear_attention" for i in range(LAYERS)
            ],
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,  # vLLM's CPU kernel refuses 32
            "linear_num_key_heads": 1,
            "linear_num_value_heads": 2,
            "linear_value_head_dim": 128,
            "mamba_ssm_dtype": "float32",
            "max_position_embeddings": 4096,
            "model_type": "qwen3_5_text",
            "mtp_num_hidden_layers": 1,
            "mtp_use_dedicated_embeddings": False,
            "num_attention_heads": 4,
            "num_hidden_layers": LAYERS,
            "num_key_value_heads": 2,
            "output_gate_type": "swish",
            "pad_token_id": None,
            "partial_rotary_factor": 0.25,
            "rms_norm_eps": 1e-06,
            "rope_parameters": {
                "mrope_interleaved": True,
                "mrope_section": [4, 2, 2],
                "partial_rotary_factor": 0.25,
                "rope_theta": 10000,
                "rope_type": "default",
            },
            "tie_word_embeddings": False,
            "use_cache": True,
            "vocab_size": VOCABULARY_SIZE,
        },
        "tie_word_embeddings": False,
        "video_token_id": token("<|video_pad|>"),
        "vision_config": {
            "deepstack_visual_indexes": [],
            "depth": 2,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 64,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": 128,
            "model_type": "qwen3_5",
            "num_heads": 2,
            "num_position_embeddings": 64,
            "out_hidden_size": HIDDEN_SIZE,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        "vision_end_token_id": token("<|vision_end|>"),
        "vision_start_token_id": token("<|vision_start|>"),
    }


def generation_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Json]:
    """Return the sampling that the release line recommends."""
    end, text_end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>"))
    return {
        "bos_token_id": text_end,
        "do_sample": True,
        "eos_token_id": [end, text_end],
        "pad_token_id": text_end,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.95,
    }


def processor_config(kind: str, processor_type: str) -> dict[str, Json]:
    """Return the preprocessing of images or of video frames into 16 x 16 patches."""
    return {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "merge_size": 2,
        "patch_size": 16,
        "processor_class": "Qwen3VLProcessor",
        "size": {"longest_edge": 65536, "shortest_edge": 4096},
        "temporal_patch_size": 2,
        kind: processor_type,
    }
