"""How fast the driver is when the server costs nothing: it must never be the bottleneck.

    python -m benchmarks.driver [--concurrency 64] [--served TOKENS_PER_SECOND]

A stub server answers at once with replies of ``--tokens`` tokens; the driver of the smoke step
asks it as it asks vLLM. The peer is ``curl``'s counterpart in the standard library: the same
requests from as many threads over ``http.client`` with nothing around them. Give ``--served`` the
tokens a second of a real server and the ratio is printed that has to be 5 or more.
"""

import argparse
import http.client
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.drive import Request, drive, fixed_length
from recipes.steps.smoke.profile import Sampling
from recipes.steps.smoke.server import free_port, serving

STUB = Path(__file__).resolve().parents[1] / "tests" / "unit" / "steps_smoke" / "stub.py"
SAMPLING = Sampling(temperature=0.7, top_p=0.95, top_k=20, repetition_penalty=1.0, max_tokens=64, seed=1)


def main() -> None:
    """Print requests and tokens a second of the driver, of bare requests, and their ratio."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--requests", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--served", type=float, default=0.0, help="tokens/s of a real server, to compare")
    asked = parser.parse_args()
    prompts = [
        Prompt(id=f"p{n}", domain="x", messages=[{"role": "user", "content": "x" * 400}]) for n in range(64)
    ]
    requests = fixed_length(prompts, SAMPLING, asked.requests, asked.tokens)
    port = free_port()
    with TemporaryDirectory() as folder:
        argv = [sys.executable, "-I", str(STUB), str(port), "well"]
        with serving(argv, os.environ, Path(folder) / "log", port, 20.0):
            ours = timed(lambda: drive(port, requests, asked.concurrency, 30.0))
            bare = timed(lambda: bare_requests(port, requests, asked.concurrency))
    tokens = asked.requests * asked.tokens
    print(f"driver     {asked.requests / ours:8.0f} requests/s {tokens / ours:10.0f} tokens/s")
    print(f"bare       {asked.requests / bare:8.0f} requests/s {tokens / bare:10.0f} tokens/s")
    print(f"driver / bare requests: {bare / ours:.2f}")
    if asked.served:
        print(f"driver / served tokens: {tokens / ours / asked.served:.1f}  (5 or more)")
    print(f"peak memory of the driver: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def bare_requests(port: int, requests: list[Request], concurrency: int) -> None:
    """Send the same bodies over one connection a request, and read the answers."""

    def one(request: Request) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = json.dumps(request.body)
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        size = len(connection.getresponse().read())
        connection.close()
        return size

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(one, requests))


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that ``run`` takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
