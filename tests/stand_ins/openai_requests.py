"""What the OpenAI API refuses of a question, in both forms, judged by the request types of the openai package.

The types are made from https://github.com/openai/openai-openapi and hold no ranges of numbers: those stand here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from .openai_errors import Refused, error_body

# Parameter -> the least and the greatest value, from the same description; of max_completion_tokens assumed
BOTH_RANGES: Mapping[str, tuple[float, float]] = {"temperature": (0, 2), "top_logprobs": (0, 20), "top_p": (0, 1)}
MAX_STOPS = 4


def chat_type() -> Any:
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

    return CompletionCreateParamsNonStreaming


def responses_type() -> Any:
    from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

    return ResponseCreateParamsNonStreaming


class Form(NamedTuple):
    """One of the two forms of a question."""

    type: Callable[[], Any]  # imported at the first question: who only starts a stand-in does not wait for it
    valid: tuple[tuple[str, Any], ...]  # parameters that no question can do without
    ranges: Mapping[str, tuple[float, float]]


CHAT = Form(
    chat_type,
    (("model", "gpt-6-luna"), ("messages", [{"role": "user", "content": ""}])),
    {
        **BOTH_RANGES,
        "frequency_penalty": (-2, 2),
        "max_completion_tokens": (1, 10_000_000),
        "n": (1, 128),
        "presence_penalty": (-2, 2),
    },
)
RESPONSES = Form(
    responses_type,
    (("model", "gpt-6-luna"), ("input", "")),
    {**BOTH_RANGES, "max_output_tokens": (16, 10_000_000), "max_tool_calls": (1, 10_000_000)},
)


class Problem(NamedTuple):
    """What the error says; the codes are assumed."""

    message: str
    code: str
    param: str


def refuse(problem: Problem | None) -> None:
    """Unless there is none."""
    if problem:
        raise Refused(400, error_body(problem.message, code=problem.code, param=problem.param))


def problem_of(parameters: Mapping[str, Any], form: Form = CHAT) -> Problem | None:
    """The first thing that is wrong with these parameters; None if the API takes them. One that is null is absent."""
    for name, value in parameters.items():
        if value is not None:
            problem = type_problem(name, value, form) or range_problem(name, value, form.ranges)
            if problem:
                return problem
    return None


def type_problem(name: str, value: Any, form: Form) -> Problem | None:
    """What the types refuse of one parameter: strictly, for in JSON a "1" is no number."""
    import pydantic

    try:
        exhaust(adapter(form.type).validate_python({**dict(form.valid), name: value}, strict=True))
    except pydantic.ValidationError as error:
        kinds = {"literal_error": "invalid_value", "missing": "missing_required_parameter"}
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        code = kinds.get(first["type"], "invalid_type")
        return Problem(f"Invalid value for '{name}': {first['msg']}.", code, name)
    return None


@functools.cache
def adapter(kind: Callable[[], Any]) -> Any:
    import pydantic

    return pydantic.TypeAdapter(kind())


def exhaust(value: Any) -> None:
    """Look at every part: those of what is only iterable are checked when they are taken out."""
    if isinstance(value, Mapping):
        for part in value.values():
            exhaust(part)
    elif hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        for part in value:
            exhaust(part)


def tools_problem(tools: Any, known: Collection[str]) -> Problem | None:
    """What is wrong with the kind of a tool. A function of the Responses API has its name beside its type."""
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        where = f"tools[{index}].type"
        if kind is None:
            return Problem(f"Missing required parameter: '{where}'.", "missing_required_parameter", where)
        if kind not in known:
            return Problem(f"Invalid value: '{kind}'. {supported(known)}", "invalid_value", where)
    return None


def supported(values: Collection[str]) -> str:
    """('a', 'b', 'c') -> "Supported values are: 'a', 'b', and 'c'.\""""
    *first, last = map(repr, values)
    comma = "," if len(first) > 1 else ""
    return f"Supported values are: {', '.join(first)}{comma} and {last}."


def range_problem(name: str, value: Any, ranges: Mapping[str, tuple[float, float]]) -> Problem | None:
    """What is of the right type and too small, too large or too many."""
    if name == "stop" and isinstance(value, list) and len(value) > MAX_STOPS:
        message = f"Invalid 'stop': array too long. Expected an array with maximum length {MAX_STOPS}."
        return Problem(message, "array_above_max_length", name)
    if name not in ranges:
        return None
    least, greatest = ranges[name]
    if least <= value <= greatest:
        return None
    kind = "integer" if isinstance(value, int) else "decimal"
    end, code, sign, limit = (
        ("below minimum", "below_min", ">=", least) if value < least else ("above maximum", "above_max", "<=", greatest)
    )
    expected = f"Expected a value {sign} {limit:g}, but got {value:g} instead."
    return Problem(f"Invalid '{name}': {kind} {end} value. {expected}", f"{kind}_{code}_value", name)
