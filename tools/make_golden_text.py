#!/usr/bin/env python3
"""Writes tests/golden/text: what Hugging Face's tokenizers and Jinja2 give, to be compared with ours.

    python3 -m venv V && V/bin/pip install tokenizers==0.23.3 jinja2==3.1.6 && V/bin/python tools/make_golden_text.py

All texts and templates here are the project's own. Tokenizers are trained on a text made up below.
  tokenizers/NAME.json   a tokenizer.json        tokenizers/NAME.jsonl   {"text", "ids", "decoded", "skipped"}
  templates/NAME.jinja   a chat template         templates/NAME.jsonl    {"context", "expected"} or {..., "error": true}
  jinja.jsonl            {"template", "context", "expected"} or {..., "error": true}: the language, piece by piece
"""
import json
import pathlib
import random

import jinja2
import jinja2.ext
import jinja2.sandbox
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "text"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


# --- texts
def corpus(rnd):
    subjects = ["The engine", "A small model", "Our scheduler", "Every token", "The cache", "This kernel", "Die Straße", "Le café"]
    verbs = ["quantizes", "serves", "remembers", "isn't", "doesn't hold", "multiplies", "won't wait for", "reads"]
    objects = ["the weights", "8-bit activations", "2,048 tokens", "a page of the cache", "naïve rounding", "日本語のテキスト",
               "русский текст", "x += 3.14 * y;", "an HTTP request", "what's left"]
    return [" ".join([rnd.choice(subjects), rnd.choice(verbs), rnd.choice(objects)]) + rnd.choice([".", "!", "?\n", ";\n\n", " "])
            for _ in range(3000)]


def texts(rnd):
    fixed = ["", " ", "  ", "\n", "\r\n\r\n", "\t tab", "Hello, world!", "It's what WE'LL do; they'D've'S", "1234567 12 1 ½ ٣٤٥", "   a    b  ",
             "a\n\n \n b\r\n", "é e\u0301 Å A\u030a", "🙂🙂🏽👩‍👩‍👧", "\u180e\u2003\u3000\u0085x", "ſ 'ſ İ ß", "<s>mid</s> <s> x", "<unk><0x0A>", "▁▁ ▁x", "[CITE] a [CITE]  b",
             "USER USERS user_USER", "\x00\x01\x7f", "𝔘𝔫𝔦 ﬁ ﷺ", "ab" * 40, "a" * 100, " " * 33 + "x", "¡¢£ØÞ", "if (x) {\n\treturn y[0];\n}\n"]
    ranges = [(0x20, 0x7F)] * 6 + [(0, 0x20), (0xA0, 0x250), (0x300, 0x370), (0x400, 0x500), (0x5D0, 0x600), (0x900, 0x980), (0x1100, 0x1160),
                                   (0x2000, 0x2070), (0x2460, 0x24FF), (0x3040, 0x3100), (0x4E00, 0x4E80), (0xAC00, 0xAC80), (0x1F300, 0x1F600)]
    out = list(fixed)
    for _ in range(75):
        parts = []
        for _ in range(rnd.randrange(1, 12)):
            low, high = rnd.choice(ranges)
            parts.append(rnd.choice(fixed) if rnd.random() < 0.2 else "".join(chr(rnd.randrange(low, high)) for _ in range(rnd.randrange(1, 5))))
        out.append("".join(parts)[:200])
    return out


# --- tokenizers
def train(lines, vocab_size, normalizer=None, pre_tokenizer=None, decoder=None, post_processor=None, added=(), **model):
    byte_fallback = model.get("byte_fallback", False)
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else [])
    alphabet = [] if byte_fallback else pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, limit_alphabet=120 if byte_fallback else 256,
        show_progress=False))
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.decoder = decoder
    if post_processor:
        tokenizer.post_processor = post_processor
    tokenizer.add_tokens(list(added))
    return tokenizer


def make_tokenizers(rnd):
    lines, samples = corpus(rnd), texts(rnd)
    sentence_piece = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    bos = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    bos_eos = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    kinds = {
        "llama2": train(lines, 600, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, sentence_piece, bos,
                        byte_fallback=True, fuse_unk=True, unk_token="<unk>"),
        "mistral": train(lines, 600, None, pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False), sentence_piece, bos_eos,
                         byte_fallback=True, fuse_unk=True, unk_token="<unk>"),
        "llama3": train(lines, 600, None, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level]), decoders.ByteLevel(), bos,
                        ignore_merges=True),
        "smollm": train(lines, 600, None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                        decoders.ByteLevel(), None),
        "qwen2": train(lines, 600, normalizers.NFC(), pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"), byte_level]),
                       decoders.ByteLevel(), None),
        "added": train(lines, 600, normalizers.Replace(" ", "▁"), None, sentence_piece, bos_eos,
                       [AddedToken("[CITE]", lstrip=True, rstrip=True), AddedToken("USER", single_word=True), AddedToken("the", normalized=True, single_word=True)],
                       byte_fallback=True, unk_token="<unk>"),
    }
    folder = ROOT / "tokenizers"
    folder.mkdir(parents=True, exist_ok=True)
    for name, tokenizer in kinds.items():
        (folder / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        with open(folder / f"{name}.jsonl", "w") as out:
            for text in samples:
                ids = tokenizer.encode(text).ids
                out.write(json.dumps({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                                      "skipped": tokenizer.decode(ids)}) + "\n")


# --- templates
class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def environment():
    """As transformers sets it up."""
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def expectation(env, source, context):
    try:
        return {"expected": env.from_string(source).render(**context)}
    except Exception:  # whatever it is, ours must fail too
        return {"error": True}


WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a \"city\" & its <surroundings>", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "Größe: ≥ 1"}, "days": {"type": "integer", "default": 3}, "exact": {"type": "boolean"}},
    "required": ["city"]}}}
TIME = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}


def conversations():
    user, system = {"role": "user", "content": "  What's up? \n"}, {"role": "system", "content": "Be brief."}
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "a1b2c3d4e", "type": "function", "function": {
        "name": "get_weather", "arguments": {"city": "Łódź", "days": 2, "exact": True, "limit": None, "scale": 1.5}}}]}
    result = {"role": "tool", "name": "get_weather", "tool_call_id": "a1b2c3d4e", "content": "{\"sky\": \"clear\"}"}
    answer = {"role": "assistant", "content": "<think>\nlet me see\n</think>\n\nAll is clear."}
    many = [system] + [turn for i in range(5) for turn in ({"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f" answer {i} "})]
    yield [user], None
    yield [system, user], None
    yield [user, {"role": "assistant", "content": "Fine."}, {"role": "user", "content": "日本語 🙂"}], None
    yield many, None
    yield many + [user], [WEATHER]
    yield [system, user, call, result], [WEATHER, TIME]
    yield [user, call, result, answer, user], [WEATHER]
    yield [user, call, result, dict(result, content="second"), answer, user, call, result], [WEATHER, TIME]
    yield [user, dict(answer, reasoning_content="because\n")], None
    yield [user, dict(call, content="Let me look.")], [TIME]
    yield [user, dict(call, tool_calls=call["tool_calls"] * 2), result, result], [WEATHER]
    yield [user, user], None
    yield [{"role": "assistant", "content": "I begin."}], None
    yield [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}], None
    yield [dict(user, content=None)], None
    yield [], None


def make_templates(env):
    folder = ROOT / "templates"
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_text()
        with open(path.with_suffix(".jsonl"), "w") as out:
            for i, (messages, tools) in enumerate(conversations()):
                context = {"messages": messages, "add_generation_prompt": i % 2 == 0, "bos_token": "<s>", "eos_token": "</s>"}
                if tools is not None:
                    context["tools"] = tools
                if i % 3 == 2:
                    context["enable_thinking"] = i % 2 == 0
                out.write(json.dumps({"context": context, **expectation(env, source, context)}) + "\n")


def make_language(env):
    context = {"s": "Hello, Wörld", "e": "", "sp": " \t pad\u00a0 \n", "n": 7, "neg": -3, "f": 2.5, "big": 1e22, "t": True, "none": None, "l": [3, 1, 2], "el": [],
               "mix": [1, "a", None, True, 2.0, [1], {"k": "v"}], "d": {"b": 1, "a": {"c": [1, 2, {"x": "y"}]}, "items": "hidden"}, "ed": {},
               "users": [{"name": "Ann", "age": 31, "tags": ["x"]}, {"name": "bob", "age": 25}, {"name": "Cid", "age": 40, "on": True}], "html": "<a href='x'>&\"</a>",
               "quote": "it's", "uni": "日本語🙂", "lines": "one\n\n  two\r\nthree", "ctl": "\u0001\u007f\u2028"}
    cases = (ROOT / "jinja_cases.txt").read_text().rstrip("\n").split("\n----\n")
    with open(ROOT / "jinja.jsonl", "w") as out:
        out.write(json.dumps({"context": context}) + "\n")
        for source in cases:
            out.write(json.dumps({"template": source, **expectation(env, source, context)}) + "\n")


if __name__ == "__main__":
    make_tokenizers(random.Random(20240726))
    make_templates(environment())
    make_language(environment())
