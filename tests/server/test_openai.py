"""The real openai package against the server: what its users do."""

import asyncio
import concurrent.futures
import socket
import time
import urllib.request
import json

import openai
import pytest

MESSAGES = [{"role": "user", "content": "Say something nice about the number eight."}]


def say(text):
    """A message that the fake engine answers with `text`."""
    return [{"role": "user", "content": "say:" + text}]


def status(server):
    with urllib.request.urlopen(server.url + "/v1/status") as response:
        return json.load(response)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


# ---- plain answers ----


def test_models(client, model):
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")


def test_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=20)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_exact(client, model, fake):
    answer = client.chat.completions.create(model=model, messages=say("héllo 😀"))
    assert answer.choices[0].message.content == "héllo 😀"
    assert answer.choices[0].finish_reason == "stop"


def test_typed_parts_are_text(client, model):
    parts = [{"role": "user", "content": [{"type": "text", "text": MESSAGES[0]["content"]}]}]
    both = [
        client.chat.completions.create(model=model, messages=m, max_tokens=8, temperature=0) for m in (MESSAGES, parts)
    ]
    assert both[0].choices[0].message.content == both[1].choices[0].message.content
    assert both[0].usage.prompt_tokens == both[1].usage.prompt_tokens


def test_history_of_the_package_is_taken_back(client, model):
    first = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8)
    history = [*MESSAGES, first.choices[0].message, {"role": "user", "content": "And another?"}]
    second = client.chat.completions.create(model=model, messages=history, max_tokens=8)
    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    dumped = [*MESSAGES, first.choices[0].message.model_dump(), {"role": "user", "content": "And another?"}]
    assert client.chat.completions.create(model=model, messages=dumped, max_tokens=8).usage.prompt_tokens == (
        second.usage.prompt_tokens
    )


def test_completion_forms(client, model):
    for prompt, n in (("Once upon a time", 1), (["Once", "Twice"], 2), ([72, 105], 1), ([[72, 105], [72]], 2)):
        answer = client.completions.create(model=model, prompt=prompt, max_tokens=4)
        assert [c.index for c in answer.choices] == list(range(n))
        assert answer.object == "text_completion"


def test_n_gives_choices_in_order(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, n=4, max_tokens=8, seed=1, temperature=1)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert len({c.message.content for c in answer.choices}) > 1


def test_seed_repeats(client, model):
    def text(seed):
        answer = client.chat.completions.create(model=model, messages=MESSAGES, seed=seed, temperature=1, max_tokens=16)
        return answer.choices[0].message.content

    assert text(7) == text(7)
    assert len({text(seed) for seed in range(5)}) > 1


def test_greedy_repeats(client, model):
    texts = {
        client.completions.create(model=model, prompt="The sea", temperature=0, max_tokens=12).choices[0].text
        for _ in range(3)
    }
    assert len(texts) == 1


def test_stop(client, model):
    full = client.completions.create(model=model, prompt="one, two,", temperature=0, max_tokens=40).choices[0].text
    stop = full[len(full) // 2 : len(full) // 2 + 2]
    answer = client.completions.create(model=model, prompt="one, two,", temperature=0, max_tokens=40, stop=[stop, "\0"])
    assert answer.choices[0].text == full[: full.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_chat_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, logprobs=True, top_logprobs=3, max_tokens=5, temperature=0
    )
    content = answer.choices[0].logprobs.content
    assert 0 < len(content) <= 5
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.bytes is not None
    joined = b"".join(bytes(t.bytes) for t in content).decode(errors="replace")
    assert joined.startswith(answer.choices[0].message.content)


def test_legacy_logprobs_with_echo(client, model):
    answer = client.completions.create(model=model, prompt="Hello there", echo=True, logprobs=2, max_tokens=3)
    choice = answer.choices[0]
    assert choice.text.startswith("Hello there")
    logprobs = choice.logprobs
    assert logprobs.token_logprobs[0] is None and all(l <= 0 for l in logprobs.token_logprobs[1:])
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
    assert all(2 <= len(top) <= 3 for top in logprobs.top_logprobs[1:])


def test_extra_fields(client, model):
    extra = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": True, "min_tokens": 3}
    extra |= {"return_token_ids": True, "priority": 1}
    answer = client.completions.create(model=model, prompt="a b c", max_tokens=9, extra_body=extra)
    assert answer.usage.completion_tokens == 9
    assert len(answer.choices[0].token_ids) == 9


# ---- streams ----


def test_stream_is_the_whole_answer_in_pieces(client, model):
    arguments = dict(model=model, messages=MESSAGES, max_tokens=24, temperature=0)
    whole = client.chat.completions.create(**arguments)
    chunks = list(client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert not chunks[-1].choices and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])
    assert len({c.id for c in chunks}) == 1


def test_stream_of_completions_with_n(client, model):
    chunks = client.completions.create(model=model, prompt=["a", "b"], n=2, max_tokens=5, stream=True)
    finished = [c.choices[0].index for c in chunks if c.choices[0].finish_reason]
    assert sorted(finished) == [0, 1, 2, 3]


def test_stream_logprobs(client, model):
    chunks = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=6, temperature=0, logprobs=True, stream=True
    )
    n = sum(len(c.choices[0].logprobs.content) for c in chunks if c.choices and c.choices[0].logprobs)
    assert 0 < n <= 6


def test_async(server, model):
    async def run():
        async with server.async_client() as client:
            async def one(i):
                stream = await client.chat.completions.create(
                    model=model, messages=MESSAGES, max_tokens=10, seed=i, stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

            return await asyncio.gather(*(one(i) for i in range(16)))

    texts = asyncio.run(run())
    assert len(texts) == 16 and all(texts)


def test_many_at_once_do_not_mix(server, model, fake):
    def one(i):
        with server.client() as client:
            text = f"number {i} " * 5
            stream = client.chat.completions.create(model=model, messages=say(text), stream=True)
            return "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == text

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        assert all(pool.map(one, range(96)))


# ---- errors ----


@pytest.mark.parametrize(
    "field, arguments",
    [
        ("temperature", {"temperature": 3}),
        ("max_tokens", {"max_tokens": 0}),
        ("n", {"n": 0}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("tool_choice", {"tool_choice": "required"}),
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("surprise", {"extra_body": {"surprise": 1}}),
        ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]}),
    ],
)
def test_bad_requests_name_the_field(client, model, field, arguments):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(**{"model": model, "messages": MESSAGES, **arguments})
    assert error.value.param == field
    assert field in str(error.value)


def test_other_model(client):
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="gpt-4", messages=MESSAGES)
    assert error.value.code == "model_not_found"


def test_too_long_a_prompt(client, model):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=model, prompt="word " * 200_000)
    assert error.value.code == "context_length_exceeded"


def test_too_large_a_body(client, model):
    with pytest.raises(openai.APIStatusError) as error:
        client.completions.create(model=model, prompt="x" * (17 << 20))
    assert error.value.status_code == 413


def test_keys(start_server):
    server = start_server("--api-key", "right")
    with pytest.raises(openai.AuthenticationError):
        server.client(api_key="wrong").models.list()
    assert server.client(api_key="right").models.list().data


def test_a_full_queue(start_server, fake):
    server = start_server("--max-open", 0)
    with pytest.raises(openai.RateLimitError) as error:
        server.client().completions.create(model="fake-model", prompt="x")
    assert error.value.response.headers["retry-after"] == "1"


# ---- going away ----


def test_closing_a_stream_frees_the_sequence(server, client, model):
    stream = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    assert status(server)["running"] >= 1
    stream.close()
    until(lambda: status(server)["running"] == 0, 3)


def test_a_vanished_client_frees_the_sequence(server, model):
    body = json.dumps({"model": model, "prompt": "x", "max_tokens": 2000, "ignore_eos": True}).encode()
    raw = socket.create_connection(("127.0.0.1", server.port))
    raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    until(lambda: status(server)["running"] == 1)
    raw.close()
    until(lambda: status(server)["running"] == 0, 3)


def test_sigterm_finishes_open_streams(start_server):
    server = start_server()
    client = server.client()
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=200, stream=True, extra_body={"ignore_eos": True}
    )
    pieces = [next(iter(stream))]
    server.terminate()
    time.sleep(0.2)
    pieces += list(stream)
    assert pieces[-1].choices[0].finish_reason == "length"
    client.close()
    assert server.wait() == 0


def test_a_second_sigterm_stops_at_once(start_server):
    server = start_server()
    client = server.client()
    model = client.models.list().data[0].id
    stream = client.completions.create(
        model=model, prompt="x", max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    server.terminate()
    time.sleep(0.2)
    server.terminate()
    with pytest.raises(Exception):
        list(stream)
    assert server.wait(10) == 0


# ---- beside the API ----


def test_tokenize_and_back(server, model):
    def post(path, body):
        request = urllib.request.Request(server.url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    text = "Grüße, 漢字 and 😀!"
    tokens = post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
    assert tokens["count"] == len(tokens["tokens"])
    assert post("/detokenize", {"model": model, "tokens": tokens["tokens"]})["prompt"] == text
    chat = post("/tokenize", {"messages": MESSAGES, "return_token_strs": True})
    assert len(chat["token_strs"]) == chat["count"]


def test_metrics_count(server, client, model):
    def value(name):
        with urllib.request.urlopen(server.url + "/metrics") as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))

    before = value("vllm:generation_tokens_total")
    client.completions.create(model=model, prompt="x", max_tokens=7, extra_body={"ignore_eos": True})
    assert value("vllm:generation_tokens_total") >= before + 7
    assert value("vllm:request_generation_tokens_count") >= 1
