"""Driving a real HTTP server that answers as vLLM does, or fails as it might."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from recipes.formats.step import StepError
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.drive import Drafts, drive, fixed_length, natural
from recipes.steps.smoke.profile import Sampling

SAMPLING = Sampling(temperature=0.7, top_p=0.95, top_k=20, repetition_penalty=1.1, max_tokens=96, seed=40)
PROMPTS = [
    Prompt(id=f"{domain}-{n}", domain=domain, messages=[{"role": "user", "content": f"{domain} {n}"}])
    for domain in ("code", "prose")
    for n in range(3)
]


def completion(body: dict[str, Any]) -> dict[str, Any]:
    spec = {"num_spec_steps": 2, "num_draft_tokens": 4, "num_accepted_draft_tokens": 3}
    return {
        "choices": [
            {"message": {"content": body["messages"][0]["content"]}, "finish_reason": "stop", "index": 0}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13},
        "metrics": {"speculative_decoding": spec},
    }


class Engine(http.server.ThreadingHTTPServer):
    """A server whose answers a test can spoil, prompt by prompt."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.bodies: list[dict[str, Any]] = []
        self.spoiled: dict[str, tuple[int, str]] = {}
        self.most_at_once = 0
        self.at_once = 0
        self.lock = threading.Lock()
        self.together = threading.Barrier(1)


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers each prompt with itself, unless the engine says otherwise."""

    server: Engine

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        self.server.together.wait(timeout=10)
        with self.server.lock:
            self.server.at_once -= 1
        text = body["messages"][0]["content"]
        status, answer = self.server.spoiled.get(text, (200, json.dumps(completion(body))))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_every_reply_is_returned_in_the_order_of_the_battery(engine: Engine) -> None:
    seen: list[int] = []
    found = drive(
        engine.server_port, natural(PROMPTS, SAMPLING), 4, 10.0, lambda count, _: seen.append(count)
    )
    assert [reply.id for reply in found.replies] == [prompt.id for prompt in PROMPTS]
    assert found.replies[0].text == "code 0"
    assert found.replies[0].drafts == Drafts(drafts=2, draft_tokens=4, accepted=3)
    assert found.tokens == 6 * 6
    assert found.wall_s > 0
    assert seen == [1, 2, 3, 4, 5, 6]


def test_as_many_are_in_flight_as_was_asked_for(engine: Engine) -> None:
    engine.together = threading.Barrier(3)
    drive(engine.server_port, natural(PROMPTS, SAMPLING), 3, 10.0)
    assert engine.most_at_once == 3


def test_every_sampling_field_is_sent_and_each_request_has_its_own_seed(engine: Engine) -> None:
    drive(engine.server_port, natural(PROMPTS, SAMPLING), 1, 10.0)
    first = engine.bodies[0]
    assert {
        key: first[key] for key in ("temperature", "top_p", "top_k", "repetition_penalty", "max_tokens")
    } == {
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": 20,
        "repetition_penalty": 1.1,
        "max_tokens": 96,
    }
    assert (first["min_p"], first["presence_penalty"], first["frequency_penalty"]) == (0, 0, 0)
    assert [body["seed"] for body in engine.bodies] == [40, 41, 42, 43, 44, 45]
    assert "ignore_eos" not in first


def test_a_throughput_drive_fixes_the_length_and_takes_prompts_in_turn(engine: Engine) -> None:
    drive(engine.server_port, fixed_length(PROMPTS, SAMPLING, 7, 64), 1, 10.0)
    assert all(body["ignore_eos"] and body["max_tokens"] == 64 for body in engine.bodies)
    assert engine.bodies[6]["messages"] == engine.bodies[0]["messages"]
    assert engine.bodies[6]["seed"] == 46


def test_tools_are_shown_to_the_model_without_asking_for_a_parser() -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    prompt = Prompt(id="t", domain="t", messages=[{}], tools=[tool], thinking=True)
    (request,) = natural([prompt], SAMPLING)
    assert (request.body["tools"], request.body["tool_choice"]) == ([tool], "none")
    assert request.body["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_server_without_a_draft_head_tells_of_no_drafts(engine: Engine) -> None:
    plain = completion({"messages": [{"content": "x"}]}) | {"metrics": None}
    engine.spoiled["code 0"] = (200, json.dumps(plain))
    assert drive(engine.server_port, natural(PROMPTS[:1], SAMPLING), 1, 10.0).replies[0].drafts is None


def test_one_failed_request_voids_the_drive(engine: Engine) -> None:
    engine.spoiled["prose 1"] = (500, '{"error": "EngineDeadError"}')
    with pytest.raises(StepError, match=r"request prose-1 failed: status 500.*EngineDeadError.*void"):
        drive(engine.server_port, natural(PROMPTS, SAMPLING), 2, 10.0)


@pytest.mark.parametrize("answer", ["no json", "{}", '{"choices": [], "usage": {}}', "[]"])
def test_an_answer_that_is_no_completion_voids_the_drive(engine: Engine, answer: str) -> None:
    engine.spoiled["code 0"] = (200, answer)
    with pytest.raises(StepError, match="request code-0: not a chat completion"):
        drive(engine.server_port, natural(PROMPTS, SAMPLING), 1, 10.0)


def test_a_server_that_is_gone_voids_the_drive(engine: Engine) -> None:
    gone = engine.server_port
    engine.server_close()
    with pytest.raises(StepError, match=r"request code-0 failed: .*void"):
        drive(gone, natural(PROMPTS[:1], SAMPLING), 1, 10.0)
