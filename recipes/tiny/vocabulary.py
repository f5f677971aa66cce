"""The tokenizer of the tiny release line, and the corpus as text.

A byte-level BPE of about 500 tokens, trained on rendered dialogues. Its added tokens have the names
and the visibility of the 27B original's.
"""

# ruff: noqa: S311 - a seeded generator is what a reproducible corpus needs

from __future__ import annotations

from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from recipes.tiny.corpus import Dialogue, Json, dialogues

VOCABULARY_SIZE = 512  # rows of the embedding
SPARE_ROWS = 9  # rows without a token: the 27B original has some too
SAMPLED_DIALOGUES = 4000

# Hidden from decoded text, as in the 27B original; the last two mark a mode in a system message.
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|think_on|>",
    "<|think_off|>",
)
# One token each, yet visible in decoded text: parsers of reasoning and of tool calls read them.
MARKUP_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")

TOKENIZER_OPTIONS: dict[str, Json] = {
    "clean_up_tokenization_spaces": False,
    "eos_token": "<|im_end|>",
    "model_max_length": 4096,
    "pad_token": "<|endoftext|>",
}

# The pre-tokenizer of Qwen3.5: words with their leading space, single digits, runs of punctuation.
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_tokenizer(template: str, seed: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the rendered corpus; any byte string can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast = wrap_tokenizer(tokenizer, template)

    every_token = (*CONTROL_TOKENS, *MARKUP_TOKENS)
    corpus = Random(f"{seed}:tokenizer")
    texts = []
    for _, dialogue in zip(range(SAMPLED_DIALOGUES), dialogues(corpus, "train"), strict=False):
        text = "".join(render(fast, dialogue))
        for token in every_token:
            text = text.replace(token, "\n")
        texts.append(text)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(every_token) - SPARE_ROWS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in CONTROL_TOKENS]
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in MARKUP_TOKENS])
    return wrap_tokenizer(tokenizer, template)


def wrap_tokenizer(tokenizer: Tokenizer, template: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer with its chat template, as transformers and vLLM load it."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **TOKENIZER_OPTIONS)


def render(tokenizer: PreTrainedTokenizerFast, dialogue: Dialogue) -> tuple[str, str]:
    """Return the prompt as a server renders it, and the text that the model has to give."""
    tools = list(dialogue.tools) or None
    messages = list(dialogue.messages)
    prompt = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=True, enable_thinking=dialogue.thinking
    )
    whole = tokenizer.apply_chat_template(
        [*messages, dialogue.reply], tools=tools, tokenize=False, enable_thinking=dialogue.thinking
    )
    if not whole.startswith(prompt):
        raise ValueError(f"the template renders a reply in history unlike its generation prompt:\n{whole}")
    return prompt, whole.removeprefix(prompt).removesuffix("\n")
