"""Conversations whose rendering is pinned in ``golden/``: name → arguments of the template."""

from collections.abc import Mapping

Case = Mapping[str, object]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a <city>.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SYSTEM = {"role": "system", "content": "You are a careful assistant."}
HELLO = {"role": "user", "content": "Hello."}
CALL = {
    "role": "assistant",
    "content": "I look.",
    "tool_calls": [
        {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2}}},
        {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}},
    ],
}
RESULTS = [{"role": "tool", "content": '{"rain": true}'}, {"role": "tool", "content": '{"rain": false}'}]
THOUGHT = {"role": "assistant", "content": "<think>\nAdd them.\n</think>\n\nFour."}
AGAIN = {"role": "user", "content": "And three and three?"}


def system(text: str) -> dict[str, str]:
    """Return a system message."""
    return {"role": "system", "content": text}


CASES: Mapping[str, Case] = {
    "user": {"messages": [HELLO]},
    "system": {"messages": [SYSTEM, HELLO]},
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, HELLO]},
    "thinking": {"messages": [SYSTEM, HELLO], "enable_thinking": True},
    "thinking-without-system": {"messages": [HELLO], "enable_thinking": True},
    "forbidden": {"messages": [SYSTEM, HELLO], "enable_thinking": False},
    "switched-on": {"messages": [system("<|think_on|> Be brief."), HELLO]},
    "switched-on-alone": {"messages": [system("<|think_on|>"), HELLO]},
    "switched-off-wins": {"messages": [system("Be brief. <|think_off|>"), HELLO], "enable_thinking": True},
    "forbidden-wins": {"messages": [system("<|think_on|>"), HELLO], "enable_thinking": False},
    "switch-of-a-user-is-text": {"messages": [{"role": "user", "content": "What is <|think_on|>?"}]},
    "tools": {"messages": [SYSTEM, HELLO], "tools": [WEATHER]},
    "tools-thinking": {"messages": [HELLO], "tools": [WEATHER], "enable_thinking": True},
    "tool-results": {"messages": [HELLO, CALL, *RESULTS], "tools": [WEATHER]},
    "after-tool-results": {
        "messages": [HELLO, CALL, *RESULTS, {"role": "assistant", "content": "Rain in Köln."}, AGAIN],
        "tools": [WEATHER],
    },
    "stale-thinking": {"messages": [HELLO, THOUGHT, AGAIN], "enable_thinking": True},
    "kept-thinking": {"messages": [HELLO, THOUGHT, AGAIN], "preserve_thinking": True},
    "reasoning-field": {
        "messages": [HELLO, {"role": "assistant", "reasoning_content": "Add them.", "content": "Four."}],
        "add_generation_prompt": False,
    },
    "answered-directly": {
        "messages": [HELLO, {"role": "assistant", "content": "Hi."}],
        "add_generation_prompt": False,
    },
    "images": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Compare "},
                    {"type": "image_url", "image_url": {"url": "a.png"}},
                    {"type": "text", "text": " with "},
                    {"type": "video", "video": "b.mp4"},
                    {"type": "text", "text": "."},
                ],
            }
        ]
    },
}
