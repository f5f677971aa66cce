"""vLLM's own benchmark, one run after another in one process: to import it takes ten seconds.

python -I bench.py '[["--backend", "openai-chat", ...], [...]]'

It runs alone in the image: standard library and vLLM. Each run writes the result file that its
own arguments name.
"""

import argparse
import json
import sys


def main(runs: list[list[str]]) -> None:
    """Run ``vllm bench serve`` with each list of arguments."""
    from vllm.benchmarks.serve import add_cli_args
    from vllm.benchmarks.serve import main as serve

    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    for run in runs:
        serve(parser.parse_args(run))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
