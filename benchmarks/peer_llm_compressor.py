"""Run in llm-compressor's environment: ``model_free_ptq`` of MASTER into OUT, weights only.

    python peer_llm_compressor.py MASTER OUT

It says when its imports are done: start-up is shown apart.
"""

import sys

from llmcompressor import model_free_ptq

print("imported", flush=True)
model_free_ptq(
    model_stub=sys.argv[1],
    save_directory=sys.argv[2],
    scheme="NVFP4A16",
    ignore=["re:.*visual.*", "re:.*conv1d.*", "re:.*embed_tokens", "lm_head", "re:.*norm.*", "re:mtp.*"],
    max_workers=2,
    device="cpu",
)
