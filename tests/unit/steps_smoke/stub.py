"""A server that answers as vLLM does, or fails as it might. Started as a process of its own.

    python -I stub.py PORT MODE

MODE is ``well``, ``hangs``, ``dies`` or ``no-metrics``: what happens from the tenth request on; ``plain``
drafts nothing, the replies of ``untold`` do not say how many drafts they took, ``leaks`` keeps half a
megabyte of each request, and ``tires`` accepts less with each second.
"""

import http.server
import json
import os
import sys
import threading
import time
from typing import Any

PORT, MODE = int(sys.argv[1]), sys.argv[2]
FINE = 10
K, STEPS = 2, 5
BEGAN = time.monotonic()
lock = threading.Lock()
kept_for_ever: list[bytes] = []
count = {"requests": 0, "drafts": 0, "draft_tokens": 0, "accepted": 0}


def said(body: dict[str, Any]) -> dict[str, Any]:
    """Return one whole reply, and count its drafts."""
    kept = STEPS * K - 2
    if MODE == "leaks":
        kept_for_ever.append(os.urandom(1 << 19))
    if MODE == "tires":
        kept = max(1, kept - int(2 * (time.monotonic() - BEGAN)))
    with lock:
        count["drafts"] += STEPS
        count["draft_tokens"] += STEPS * K
        count["accepted"] += kept
    budget = body.get("max_tokens", 64)
    length = budget if body.get("ignore_eos") else min(budget, 1 + STEPS + kept)
    thinks = body.get("chat_template_kwargs", {}).get("enable_thinking") or "<|think_on|>" in str(
        body["messages"][0].get("content")
    )
    message: Any = {"content": "So it is.", "reasoning": "well" if thinks else None}
    if body.get("tools") and body.get("tool_choice") == "auto" and body["messages"][-1]["role"] == "user":
        call = {"name": "find_book", "arguments": json.dumps({"topic": "willow", "language": "en"})}
        message = {"content": None, "tool_calls": [{"id": "c0", "type": "function", "function": call}]}
    spec = {"num_spec_steps": STEPS, "num_draft_tokens": STEPS * K, "num_accepted_draft_tokens": kept}
    return {
        "choices": [
            {"index": 0, "message": message, "finish_reason": "length" if body.get("ignore_eos") else "stop"}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": length, "total_tokens": 7 + length},
        "metrics": {"speculative_decoding": spec} if MODE not in ("plain", "untold") else None,
    }


def exposition() -> str:
    """Return the counters as Prometheus text."""
    name = "vllm:spec_decode_num_"
    rows = [
        (f"{name}{key}_total", count[at])
        for key, at in (("drafts", "drafts"), ("draft_tokens", "draft_tokens"))
    ]
    rows.append((f"{name}accepted_tokens_total", count["accepted"]))
    lines = [f'{row}{{model_name="model"}} {value}.0' for row, value in rows]
    first = count["drafts"]
    per = f"{name}accepted_tokens_per_pos_total"
    lines += [f'{per}{{position="0"}} {first}', f'{per}{{position="1"}} {count["accepted"] - first}']
    return "\n".join(lines)


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers everything that a smoke asks."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        late = count["requests"] >= FINE
        if self.path == "/metrics" and MODE == "no-metrics" and late:
            self.reply(404, "gone")
        elif self.path == "/metrics":
            self.reply(200, "up 1" if MODE == "plain" else exposition())
        else:
            self.reply(200, json.dumps({"version": "0.32.0"}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            end = (
                ["<think>", "\n"] if "<|think_on|>" in str(body.get("messages")) else ["<think>", "</think>"]
            )
            words = str(body.get("prompt", "")).split()
            self.reply(200, json.dumps({"count": len(words), "token_strs": end}))
            return
        with lock:
            count["requests"] += 1
            late = count["requests"] > FINE
        if MODE == "hangs" and late:
            time.sleep(600)
        if MODE == "dies" and late:
            time.sleep(0.5)  # the replies before this one are on their way, on a busy machine too
            sys.stdout.write("torch.AcceleratorError: CUDA error: an illegal memory access\n")
            sys.stdout.flush()
            os._exit(139)
        if body.get("stream"):
            pieces: list[Any] = [
                {"choices": [{"delta": {"content": word}, "finish_reason": None}]}
                for word in ("So ", "it is.")
            ]
            pieces.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
            pieces.append({"choices": [], "usage": {"completion_tokens": 3}})
            text = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
            self.reply(200, text)
            return
        self.reply(200, json.dumps(said(body)))

    def reply(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """A queue as long as a drive's concurrency."""

    request_queue_size = 256
    daemon_threads = True


sys.stdout.write("loaded\n")
sys.stdout.flush()
Server(("127.0.0.1", PORT), Answers).serve_forever()
