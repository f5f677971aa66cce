"""The positions at which the two models differ most, with the text around them.

{"id": "code-0", "domain": "code", "position": 17, "kl": 2.1, "before": "def add(", "token": "a",
 "master": {"best": "a", "logprob": -0.1}, "nvfp4": {"best": "x", "logprob": -2.7}}

``logprob`` is of ``token``, which follows in the text.
"""

import heapq
import json
from collections.abc import Sequence

from recipes.chats.tokens import Tokens
from recipes.steps.fidelity.heads import Compared
from recipes.steps.fidelity.rows import Tokenized

KEPT = 20
BEFORE = 24


def worst(rows: Sequence[Tokenized], compared: Sequence[Compared], tokens: Tokens) -> str:
    """Return the ``KEPT`` positions of largest divergence, the largest first, a line a position."""
    every = (
        (float(kl), number, position)
        for number, part in enumerate(compared)
        for position, kl in enumerate(part.kl)
    )
    largest = heapq.nlargest(KEPT, every)
    return "".join(
        json.dumps(_told(rows[number], compared[number], position, tokens), ensure_ascii=False) + "\n"
        for _, number, position in largest
    )


def _told(row: Tokenized, part: Compared, position: int, tokens: Tokens) -> dict[str, object]:
    before = list(row.tokens[max(0, position + 1 - BEFORE) : position + 1])
    return {
        "id": row.id,
        "domain": row.domain,
        "position": position,
        "kl": float(part.kl[position]),
        "before": tokens.text(before),
        "token": tokens.text([row.tokens[position + 1]]),
        "master": {
            "best": tokens.text([int(part.master_best[position])]),
            "logprob": float(part.master_logprob[position]),
        },
        "nvfp4": {
            "best": tokens.text([int(part.release_best[position])]),
            "logprob": float(part.release_logprob[position]),
        },
    }
