"""The official libraries of OpenAI, Anthropic and Google drive the fake provider: text, streams, tools, errors."""

import json
import os
import urllib.request

import anthropic
import openai
from google import genai
from google.genai import errors, types

FAKE = os.environ["FAKE"]
HELLO = "Hello, wörld ✓ 日本語 😀."
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def scenario(name):
    return {"x-fake-scenario": name}


def check(what, got, expected):
    assert got == expected, f"{what}: {got!r} is not {expected!r}"


def fails(what, kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{what}: no {kind.__name__}")


def openai_chat():
    client = openai.OpenAI(base_url=f"{FAKE}/v1", api_key="key-openai", max_retries=0)
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi there"}]}
    check("chat", client.chat.completions.create(**ask).choices[0].message.content, "You said: hi there")
    for framing in ["text/one_byte", "text/crlf", "text/comments", "text/together"]:
        stream = client.chat.completions.create(
            **ask, stream=True, stream_options={"include_usage": True}, extra_headers=scenario(framing))
        chunks = list(stream)
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        check(framing, said, HELLO)
        assert chunks[-1].usage.completion_tokens > 0
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
    made = client.chat.completions.create(**ask, tools=tools, extra_headers=scenario("tools/two")).choices[0]
    check("finish", made.finish_reason, "tool_calls")
    check("calls", [c.function.name for c in made.message.tool_calls], ["get_weather", "get_time"])
    with client.chat.completions.stream(**ask, tools=tools, extra_headers=scenario("tools/interleaved")) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    check("streamed calls", [json.loads(c.function.arguments) for c in calls],
          [{"city": "Oslo", "unit": "c"}, {"zone": "Europe/Oslo"}])
    used = client.chat.completions.create(**ask, extra_headers=scenario("usage/usual")).usage
    check("cached", used.prompt_tokens_details.cached_tokens, 60)
    limit = fails("429", openai.RateLimitError,
                  lambda: client.chat.completions.create(**ask, extra_headers=scenario("error/429")))
    check("code", limit.code, "rate_limit_exceeded")
    fails("401", openai.AuthenticationError,
          lambda: client.with_options(api_key="invalid").chat.completions.create(**ask))
    fails("mid-stream", openai.APIError, lambda: list(
        client.chat.completions.create(**ask, stream=True, extra_headers=scenario("error/mid_stream"))))
    again = client.with_options(max_retries=2)
    urllib.request.urlopen(urllib.request.Request(f"{FAKE}/__fake/scenarios", b'["error/429_after_ms"]', method="POST"))
    check("retried", again.chat.completions.create(**ask).choices[0].message.content, "You said: hi there")
    check("models", [m.id for m in client.models.list()], ["fake-1"])


def openai_responses():
    client = openai.OpenAI(base_url=f"{FAKE}/v1", api_key="key-openai", max_retries=0)
    ask = {"model": "gpt-5", "input": "hi there"}
    check("response", client.responses.create(**ask).output_text, "You said: hi there")
    events = list(client.responses.create(**ask, stream=True, extra_headers=scenario("text/one_byte")))
    check("delta", "".join(e.delta for e in events if e.type == "response.output_text.delta"), HELLO)
    check("last", events[-1].response.output_text, HELLO)
    tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
    with client.responses.stream(**ask, tools=tools, extra_headers=scenario("tools/interleaved")) as stream:
        final = stream.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    check("calls", [json.loads(c.arguments)["city" if i == 0 else "zone"] for i, c in enumerate(calls)],
          ["Oslo", "Europe/Oslo"])
    thought = client.responses.create(**ask, extra_headers=scenario("think/text")).output[0]
    check("thinking", (thought.type, thought.summary[0].text), ("reasoning", "Where is the sun?"))
    cited = client.responses.create(**ask, extra_headers=scenario("search/cited")).output
    check("search", [item.type for item in cited], ["web_search_call", "message"])
    check("cited", cited[1].content[0].annotations[0].url, "https://example.org/a")
    cut = client.responses.create(**ask, extra_headers=scenario("finish/length"))
    check("cut", (cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    fails("500", openai.InternalServerError,
          lambda: client.responses.create(**ask, extra_headers=scenario("error/500")))


def openai_others():
    client = openai.OpenAI(base_url=f"{FAKE}/v1", api_key="key-openai", max_retries=0)
    # The library asks for base64 by itself.
    made = client.embeddings.create(model="text-embedding-3-small", input=["a", "b", "a"], dimensions=8)
    vectors = [d.embedding for d in made.data]
    check("dimensions", [len(v) for v in vectors], [8, 8, 8])
    assert vectors[0] == vectors[2] != vectors[1]
    image = client.images.generate(model="gpt-image-1", prompt="a cat", n=2)
    check("images", len(image.data), 2)
    edited = client.images.edit(model="gpt-image-1", image=("a.png", b"\x89PNG", "image/png"), prompt="a hat")
    assert edited.data[0].b64_json


def anthropic_messages():
    client = anthropic.Anthropic(base_url=FAKE, api_key="key-anthropic", max_retries=0)
    ask = {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": "hi there"}]}
    check("message", client.messages.create(**ask).content[0].text, "You said: hi there")
    with client.messages.stream(**ask, extra_headers=scenario("text/one_byte")) as stream:
        check("stream", "".join(stream.text_stream), HELLO)
        check("end", stream.get_final_message().stop_reason, "end_turn")
    tools = [{"name": "get_weather", "input_schema": SCHEMA}]
    with client.messages.stream(**ask, tools=tools, extra_headers=scenario("think/tools")) as stream:
        final = stream.get_final_message()
    check("blocks", [b.type for b in final.content], ["thinking", "text", "tool_use"])
    check("signature", final.content[0].signature, "c2lnLXRoaW5r")
    check("input", final.content[2].input, {"city": "Oslo", "unit": "c"})
    whole = client.messages.create(**ask, tools=tools, extra_headers=scenario("tools/two"))
    check("calls", [b.name for b in whole.content], ["get_weather", "get_time"])
    used = client.messages.create(**ask, extra_headers=scenario("usage/usual")).usage
    check("used", (used.input_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens), (20, 60, 20))
    fails("429", anthropic.RateLimitError,
          lambda: client.messages.create(**ask, extra_headers=scenario("error/429")))
    fails("529", anthropic.APIStatusError,
          lambda: client.messages.create(**ask, extra_headers=scenario("error/529")))

    def broken():
        with client.messages.stream(**ask, extra_headers=scenario("error/mid_stream")) as stream:
            stream.get_final_message()
    fails("mid-stream", anthropic.APIStatusError, broken)


def google_genai():
    # A client that nobody holds any more closes its connections, also those of a stream that is being read.
    held = []

    def client(name=None):
        options = types.HttpOptions(base_url=FAKE, headers=scenario(name) if name else {})
        held.append(genai.Client(api_key="key-google", vertexai=False, http_options=options))
        return held[-1]

    ask = {"model": "gemini-x", "contents": "hi there"}
    check("content", client().models.generate_content(**ask).text, "You said: hi there")
    for framing in ["text/plain", "text/seven_bytes", "text/crlf"]:
        chunks = client(framing).models.generate_content_stream(**ask)
        check(framing, "".join(c.text or "" for c in chunks), HELLO)
    tool = types.Tool(function_declarations=[{"name": "get_weather", "parameters_json_schema": SCHEMA}])
    config = types.GenerateContentConfig(
        tools=[tool], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))
    made = client("think/tools").models.generate_content(**ask, config=config)
    check("call", (made.function_calls[0].name, made.function_calls[0].args),
          ("get_weather", {"city": "Oslo", "unit": "c"}))
    parts = made.candidates[0].content.parts
    check("thought", [p.text for p in parts if p.thought], ["Where is the sun?"])
    assert any(p.thought_signature for p in parts if p.function_call)
    used = client("usage/usual").models.generate_content(**ask).usage_metadata
    check("used", (used.prompt_token_count, used.cached_content_token_count, used.thoughts_token_count), (100, 60, 15))
    limit = fails("429", errors.ClientError, lambda: client("error/429").models.generate_content(**ask))
    check("status", (limit.code, limit.status), (429, "RESOURCE_EXHAUSTED"))
    fails("503", errors.ServerError, lambda: client("error/503").models.generate_content(**ask))
    made = client().models.embed_content(model="gemini-embedding-001", contents=["a", "b"],
                                         config=types.EmbedContentConfig(output_dimensionality=8))
    check("vectors", [len(e.values) for e in made.embeddings], [8, 8])


def main():
    tests = [openai_chat, openai_responses, openai_others, anthropic_messages, google_genai]
    for test in tests:
        test()
        print(f"python {test.__name__}: ok")
    ledger = json.load(urllib.request.urlopen(f"{FAKE}/__fake/ledger"))
    assert all(ledger[key]["answers"] > 0 for key in ["key-openai", "key-anthropic", "key-google"]), ledger


main()
