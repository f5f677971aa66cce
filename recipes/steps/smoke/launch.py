"""The server's own process: ask this version's parser whether it takes every flag, then serve.

    python -I launch.py serve MODEL --max-model-len=1024 ...
    python -I launch.py check MODEL --max-model-len=1024 ...     # ask only

A flag that vLLM would take for another (argparse completes a prefix), a value that it reads
otherwise, a parser, backend or loader that it does not have, and a variable that it ignores end
the process before a model is loaded. It runs alone in the image: standard library and vLLM.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping

REFUSED = 3


def main(argv: list[str]) -> int:
    """Serve, or say what is refused; return the exit code."""
    problems = list(check(argv[1:], os.environ))
    for problem in problems:
        print(f"this vLLM does not take the serve profile: {problem}", file=sys.stderr)  # noqa: T201
    if problems:
        return REFUSED
    if argv[0] == "check":
        return 0
    from vllm.entrypoints.cli.main import main as vllm

    sys.argv = ["vllm", *argv]
    vllm()
    return 0


def check(argv: list[str], variables: Mapping[str, str]) -> Iterator[str]:
    """Yield what the installed version refuses, misreads or ignores of ``argv`` and ``variables``."""
    import vllm.envs as known

    for name in sorted(variables):
        if name.startswith("VLLM_") and name not in known.environment_variables:
            yield f"{name} is ignored"
    parser = _parser()
    taken = {option for action in parser._actions for option in action.option_strings}
    flags = [word.partition("=") for word in argv if word.startswith("--")]
    unknown = [name for name, _, _ in flags if name not in taken]
    yield from (f"{name} is no flag of it" for name in unknown)
    if not unknown:
        yield from _values(parser, argv, {name: value for name, _, value in flags})


def _values(parser: argparse.ArgumentParser, argv: list[str], given: Mapping[str, str]) -> Iterator[str]:
    try:
        read = vars(parser.parse_args(argv))
    except SystemExit:
        yield "its parser ended; the line above says why"
        return
    for name, value in given.items():
        (action,) = (action for action in parser._actions if name in action.option_strings)
        got = read[action.dest]
        if value and not _same(value, got):
            yield f"{name}={value} is read as {got!r}"
    for name, known in _registries():
        if given.get(name) and given[name] not in known:
            yield f"{name}={given[name]}: it has {', '.join(sorted(known))}"


def _same(written: str, read: object) -> bool:
    """Tell whether ``read`` is what was written, as text, number or the keys of a JSON table."""
    if isinstance(read, bool | int | float):
        return float(written) == float(read)
    if isinstance(read, str):
        return written == read
    try:
        table = json.loads(written)
    except ValueError:
        return True
    held = read if isinstance(read, dict) else vars(read)
    return all(str(held.get(key)).rpartition(".")[2].startswith(str(value)) for key, value in table.items())


def _parser() -> argparse.ArgumentParser:
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
    except ImportError:  # before 0.32
        from vllm.entrypoints.openai.cli_args import make_arg_parser
    parser: argparse.ArgumentParser = make_arg_parser(FlexibleArgumentParser())
    return parser


def _registries() -> Iterator[tuple[str, Iterable[str]]]:
    """Yield flags whose value is a name, and the names there are."""
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
    from vllm.model_executor.model_loader import _LOAD_FORMAT_TO_MODEL_LOADER as LOADERS
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    yield "--quantization", QUANTIZATION_METHODS
    yield "--load-format", LOADERS
    yield "--reasoning-parser", ReasoningParserManager.list_registered()
    yield "--tool-call-parser", ToolParserManager.list_registered()
    yield "--attention-backend", AttentionBackendEnum.__members__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
