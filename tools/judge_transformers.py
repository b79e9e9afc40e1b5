#!/usr/bin/env python3
"""Lets transformers load what `octet quantize` writes and compares its logits with stored ones.

usage: tools/judge_transformers.py OCTET [--write]

Quantizes tests/golden/models/llama31 in every scheme of CASES and CALIBRATED, loads each folder with transformers (compressed-tensors,
bitsandbytes) in float32 and runs the golden prompt. With --write the logits go to tests/golden/written/<case>.safetensors, which
tests/written_golden_test.cc compares with octet's own on the same folders, written anew; calibrated folders are stored whole beside the other golden
models, because what the model writes for its calibration may differ between processors. Without --write the logits have to be the stored ones
(torch's order of summation may differ between machines: KL below 1e-4).
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

SOURCE = Path("tests/golden/models/llama31")
GOLDEN = Path("tests/golden/written")
CASES = {
    "int8-minmax": ["--scheme", "int8-minmax"],
    "fp8": ["--scheme", "fp8", "--quantize-head"],
    "w8a16": ["--scheme", "w8a16"],
    "w8a16-fp8": ["--scheme", "w8a16-fp8"],
    "w4a16": ["--scheme", "w4a16:32", "--weights", "absmax"],
    "mixed": ["--scheme", "int8-minmax", "--override", "mlp=fp8", "--override", "o_proj=w8a16", "--exclude", "layers\\.0\\."],
    "llm-int8": ["--scheme", "llm-int8:3"],
}
CALIBRATED = {
    "llama31-int8-static-asym": ["--scheme", "int8-static-asym"],
    "llama31-fp8-static-kv8": ["--scheme", "fp8-static", "--kv-dtype", "fp8"],
}


def logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            raise SystemExit(f"{folder}: transformers reports {kind}: {sorted(info[kind])[:3]}")
    with torch.no_grad():
        return model.eval()(ids[None]).logits[0].float()


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    p, q = torch.log_softmax(p, -1), torch.log_softmax(q, -1)
    return (p.exp() * (p - q)).sum(-1).mean().item()


def quantize(octet: str, folder: Path, options) -> None:
    subprocess.run([octet, "quantize", str(SOURCE), "-o", str(folder), *options], check=True, capture_output=True, text=True)


def report(name: str, golden, result: torch.Tensor, stored) -> bool:
    line, fits = f"{name:25} KL to 16 bits {kl(golden['logits'], result):.6f}", True
    if stored is not None:
        distance = kl(stored, result)
        fits = distance < 1e-4
        line += f", to the stored logits {distance:.1e}{'' if fits else ': TOO FAR'}"
    print(line, flush=True)
    return fits


def main() -> int:
    octet, write = sys.argv[1], "--write" in sys.argv[2:]
    golden = load_file(SOURCE / "golden.safetensors")
    fits = []
    for name, options in CASES.items():
        stored = GOLDEN / f"{name}.safetensors"
        with tempfile.TemporaryDirectory() as folder:
            quantize(octet, Path(folder) / name, options)
            result = logits(Path(folder) / name, golden["ids"])
        if write:
            stored.parent.mkdir(exist_ok=True)
            save_file({"ids": golden["ids"], "logits": result}, stored)
        fits.append(report(name, golden, result, None if write else load_file(stored)["logits"]))
    for name, options in CALIBRATED.items():
        stored = SOURCE.parent / name
        if write:
            shutil.rmtree(stored, ignore_errors=True)
            quantize(octet, stored, options)
            (stored / "calibration.json").unlink()
            result = logits(stored, golden["ids"])
            save_file({"ids": golden["ids"], "logits": result}, stored / "golden.safetensors")
        else:
            with tempfile.TemporaryDirectory() as folder:
                quantize(octet, Path(folder) / name, options)
                report(f"{name}, anew", golden, logits(Path(folder) / name, golden["ids"]), None)
            result = logits(stored, golden["ids"])
        fits.append(report(name, golden, result, None if write else load_file(stored / "golden.safetensors")["logits"]))
    return 0 if all(fits) else 1


if __name__ == "__main__":
    sys.exit(main())
