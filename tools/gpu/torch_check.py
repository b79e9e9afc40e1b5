#!/usr/bin/env python3
"""A two-layer model of Llama-3.1-8B's shape against torch on the same GPU: usage: tools/gpu/torch_check.py OUT.json

torch computes log probabilities of random prompts (one of 2,048 tokens) in float32 from the bf16 weights; `octet serve` gives those of
the prompts' tokens and the most likely one. Stated for each scheme: top-1 agreement, the error's root mean square, and half its mean
square, which is the KL divergence for errors as small as these. torch's own bfloat16 beside them. The bound: what
independent roundings cost of the logits' spread, as src/engine/cuda_reference_test.cc adds them up.
BIN: the folder of programs.
"""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import make_checkpoint  # noqa: E402
from make_checkpoint import HEAD, HEADS, HIDDEN, KV_HEADS  # noqa: E402

BIN = pathlib.Path(os.environ.get("BIN", pathlib.Path(__file__).resolve().parents[2] / "build")).resolve()
LAYERS, VOCABULARY, LENGTHS = 2, 32000, (17, 64, 300, 777, 2048)
VARIANTS = (("bf16", "auto"), ("fp8", "auto"), ("int8-minmax", "auto"), ("fp8", "fp8"), ("int8-minmax", "int8"))


def read_weights(folder):
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        data = file.read_bytes()
        n = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:8 + n]).items():
            begin, end = (8 + n + offset for offset in entry["data_offsets"])
            weights[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.bfloat16).reshape(entry["shape"]).cuda()
    return weights


def rotated(x, positions):
    frequencies = 500000.0 ** (-torch.arange(0, HEAD, 2, device="cuda", dtype=torch.float64) / HEAD)
    angles = positions[:, None].double() * frequencies
    cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]
    first, second = x[..., :HEAD // 2], x[..., HEAD // 2:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def logits(weights, ids, dtype):
    w = {name: value.to(dtype) for name, value in weights.items()}

    def norm(x, name):
        return (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)).to(dtype) * w[name]

    n, positions = len(ids), torch.arange(len(ids), device="cuda")
    x = w["model.embed_tokens.weight"][torch.tensor(ids, device="cuda")]
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        h = norm(x, p + "input_layernorm.weight")
        q, k, v = ((h @ w[p + f"self_attn.{name}_proj.weight"].T).view(n, -1, HEAD) for name in "qkv")
        q, k = rotated(q, positions), rotated(k, positions)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        attended = torch.nn.functional.scaled_dot_product_attention(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), is_causal=True)
        x = x + attended.transpose(0, 1).reshape(n, HIDDEN) @ w[p + "self_attn.o_proj.weight"].T
        h = norm(x, p + "post_attention_layernorm.weight")
        gate, up = (h @ w[p + f"mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + (torch.nn.functional.silu(gate) * up) @ w[p + "mlp.down_proj.weight"].T
    return (norm(x, "model.norm.weight") @ w["lm_head.weight"].T).float()


def serve(folder, scheme, kv, prompts):
    """For each prompt: of every token but the first (log probability, the most likely id there)."""
    process = subprocess.Popen([BIN / "octet", "serve", folder, "--backend", "cuda", "--scheme", scheme, "--kv-dtype", kv, "--port", "0",
                                "--max-context", "4096", "--max-batch", "64", "--kernel-plans", "off"], stdout=subprocess.PIPE, text=True)
    try:
        url = next(line.split()[1] for line in process.stdout if line.startswith("ready: "))
        results = []
        for ids in prompts:
            body = {"prompt": ids, "max_tokens": 1, "temperature": 0, "ignore_eos": True, "prompt_logprobs": 1}
            request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as answer:
                entries = json.load(answer)["choices"][0]["prompt_logprobs"][1:]
            results.append([(entry[str(token)]["logprob"], int(max(entry, key=lambda t: entry[t]["logprob"])))
                            for token, entry in zip(ids[1:], entries)])
        return results
    finally:
        process.terminate()
        process.wait(60)


def compare(expected, actual):
    """Of (log probability, top id) pairs."""
    pairs = [pair for prompt in zip(expected, actual) for pair in zip(*prompt)]
    squares = sum((a[0] - b[0]) ** 2 for a, b in pairs) / len(pairs)
    return dict(tokens=len(pairs), top1_agreement=round(sum(a[1] == b[1] for a, b in pairs) / len(pairs), 4),
                logprob_rms=round(math.sqrt(squares), 5), kl=round(squares / 2, 6),
                worst=round(max(abs(a[0] - b[0]) for a, b in pairs), 4))


def bound(scheme, kv, spread, torch_rms):
    """What torch's own bfloat16 costs, and a quarter more, and beside it the codes. An int8 row's largest value is 8 times its deviation;
    inputs and weights have codes, at four places a layer, those of a cache at two; errors of queries and keys count by the spread of
    attention's scores, (0.02 sqrt(4096))^2."""
    fp8, int8, sharpness = 2**-4 / 3**0.5, 8 / 127 / 12**0.5, 0.02**2 * HIDDEN
    kinds = {"fp8": fp8, "int8": int8}
    codes, cache = kinds.get(scheme.split("-")[0], 0), kinds.get(kv, 0)
    layer = 8 * codes**2 + 4 * cache**2 + sharpness**2 * 2 * (2 * codes**2 + cache**2)
    return math.hypot(1.25 * torch_rms, math.sqrt(LAYERS * layer) * spread)


def main(out):
    torch.backends.cuda.matmul.allow_tf32 = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_checkpoint.main(folder, LAYERS, VOCABULARY)
        weights = read_weights(folder)
        torch.manual_seed(7)
        prompts = [torch.randint(300, VOCABULARY, (n,)).tolist() for n in LENGTHS]
        wanted, in_bf16, spread = [], [], []
        for ids in prompts:
            for dtype, results in ((torch.float32, wanted), (torch.bfloat16, in_bf16)):
                rows = logits(weights, ids, dtype)[:-1]
                spread += [rows.std().item()] if dtype == torch.float32 else []
                logprobs = rows.log_softmax(-1)
                chosen = logprobs.gather(1, torch.tensor(ids[1:], device="cuda")[:, None])[:, 0]
                results.append(list(zip(chosen.tolist(), rows.argmax(-1).tolist())))
        spread = sum(spread) / len(spread)
        report = dict(device=torch.cuda.get_device_name(), torch=torch.__version__, layers=LAYERS, prompts=LENGTHS, logits_spread=round(spread, 3),
                      command="tools/gpu/torch_check.py OUT.json", rows=[dict(scheme="torch bfloat16", **compare(wanted, in_bf16))])
        del weights
        torch.cuda.empty_cache()
        failed = False
        for scheme, kv in VARIANTS:
            row = dict(scheme=scheme, kv_dtype=kv, **compare(wanted, serve(str(folder), scheme, kv, prompts)))
            row["logprob_rms_bound"] = round(bound(scheme, kv, spread, report["rows"][0]["logprob_rms"]), 5)
            failed |= not row["logprob_rms"] <= row["logprob_rms_bound"]
            report["rows"].append(row)
        for row in report["rows"]:
            print(json.dumps(row))
        pathlib.Path(out).write_text(json.dumps(report, indent=1) + "\n")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
