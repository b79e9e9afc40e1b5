#!/usr/bin/env python3
"""Random weights in Llama-3.1-8B's shape as a Hugging Face folder, with a tokenizer: usage: make_checkpoint.py FOLDER [LAYERS] [VOCABULARY]

32 layers and 128256 tokens by default: 16 GB of bf16 in shards. LAYERS 0: config.json and the tokenizer alone, for --random-weights.
Weights are drawn by torch (standard deviation 0.02), on the GPU where there is one. Tokens are strings of one to eight letters.
"""
import json
import pathlib
import random
import shutil
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HIDDEN, INNER, HEADS, KV_HEADS, HEAD = 4096, 14336, 32, 8, 128
SHARD_BYTES = 4 << 30


def write_config(folder, layers, vocabulary):
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", hidden_size=HIDDEN, intermediate_size=INNER,
                  num_hidden_layers=layers, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD, vocab_size=vocabulary,
                  max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=False, torch_dtype="bfloat16",
                  bos_token_id=0, eos_token_id=1)
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def write_tokenizer(folder, vocabulary):
    """That of the tiny golden models, with more words; text is still cut into bytes, but every id has a text."""
    golden = ROOT / "tests/golden/models/llama31"
    tokenizer = json.loads((golden / "tokenizer.json").read_text())
    words, draw = tokenizer["model"]["vocab"], random.Random(1)
    taken = set(words.values()) | {token["id"] for token in tokenizer.get("added_tokens", [])}
    for i in range(vocabulary):
        word = None
        while i not in taken and (word is None or word in words):
            word = draw.choice(["", "\u0120"]) + "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 8)))
        if word:
            words[word] = i
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(golden / name, folder / name)


def tensors(layers, vocabulary):
    yield "model.embed_tokens.weight", (vocabulary, HIDDEN)
    for i in range(layers):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (HIDDEN,)
        yield p + "post_attention_layernorm.weight", (HIDDEN,)
        yield p + "self_attn.q_proj.weight", (HEADS * HEAD, HIDDEN)
        yield p + "self_attn.k_proj.weight", (KV_HEADS * HEAD, HIDDEN)
        yield p + "self_attn.v_proj.weight", (KV_HEADS * HEAD, HIDDEN)
        yield p + "self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD)
        yield p + "mlp.gate_proj.weight", (INNER, HIDDEN)
        yield p + "mlp.up_proj.weight", (INNER, HIDDEN)
        yield p + "mlp.down_proj.weight", (HIDDEN, INNER)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (vocabulary, HIDDEN)


def shards(layers, vocabulary):
    shard, size = [], 0
    for name, shape in tensors(layers, vocabulary):
        n_bytes = 2
        for n in shape:
            n_bytes *= n
        if shard and size + n_bytes > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append((name, shape, size, size + n_bytes))
        size += n_bytes
    yield shard


def write_weights(folder, layers, vocabulary):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(1)
    everything = list(shards(layers, vocabulary))
    index = {}
    for i, shard in enumerate(everything):
        file = f"model-{i + 1:05}-of-{len(everything):05}.safetensors"
        header = {name: {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]} for name, shape, begin, end in shard}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / file, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for name, shape, _, _ in shard:
                values = torch.randn(shape, device=device, dtype=torch.float32)
                values = 1 + 0.1 * values if name.endswith("norm.weight") else 0.02 * values
                out.write(memoryview(values.to(torch.bfloat16).view(torch.int16).cpu().numpy()).cast("B"))
                index[name] = file
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def main(folder, layers=32, vocabulary=128256):
    folder, layers, vocabulary = pathlib.Path(folder), int(layers), int(vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, layers or 32, vocabulary)
    write_tokenizer(folder, vocabulary)
    if layers:
        write_weights(folder, layers, vocabulary)


if __name__ == "__main__":
    main(*sys.argv[1:])
