"""What pydantic-ai reads in answers of the stand-in for the Responses API at <url>: run by a Python that has it."""

from __future__ import annotations

import json
import sys

from pydantic_ai import Agent
from pydantic_ai.capabilities import NativeTool
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.providers.openai import OpenAIProvider

if __name__ == "__main__":
    model = OpenAIResponsesModel("gpt-6-luna", provider=OpenAIProvider(base_url=sys.argv[1], api_key="sk-example"))
    agent = Agent(model, instructions="你是一名中医。")
    first = agent.run_sync("我叫小明")
    searching = Agent(model, capabilities=[NativeTool(WebSearchTool())]).run_sync("搜索 Python 的新闻")
    seen = {
        "first": first.output,
        "second": agent.run_sync("我叫什么？", message_history=first.all_messages()).output,
        "instructions": agent.run_sync("你是谁？").output,
        "found": searching.output,
        "parts": [type(part).__name__ for part in searching.all_messages()[-1].parts],
    }
    for name in sys.argv[2:]:
        try:
            seen[name] = agent.run_sync("1+1").output
        except Exception as error:
            seen[name] = type(error).__name__
    print(json.dumps(seen))
