#!/usr/bin/env python3
"""Writes tests/golden/smollm2.json: what transformers says about a text with the real small model, in float32.

usage: tools/make_golden_smollm2.py FOLDER OUT.json      (normally through `make goldens`)

FOLDER is the model as `octet quantize models/smollm2-135m-instruct.gguf --scheme f32` writes it, so that both sides compute with the very
same weights. For each position the ten most likely next tokens and their log-probabilities are kept.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = """The lighthouse keeper counted the ships twice each evening, once from the window and once from memory. In 1912 the harbour held forty-one
boats; by the spring of 1931 there were 7. "Numbers," she wrote, "are a kind of weather."

def area(width, height):
    return width * height

Kepler's third law says that the square of a planet's period is proportional to the cube of its distance from the sun."""
TOP = 10

folder, out = sys.argv[1], sys.argv[2]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
ids = tokenizer(TEXT, return_tensors="pt").input_ids
with torch.no_grad():
    logprobs = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
top = logprobs.topk(TOP, dim=-1)
result = {"text": TEXT, "ids": ids[0].tolist(), "top_ids": top.indices.tolist(),
          "top_logprobs": [[round(v, 5) for v in row] for row in top.values.tolist()]}
with open(out, "w") as file:
    json.dump(result, file, separators=(",", ":"))
    file.write("\n")
print(out, len(result["ids"]), "positions")
