#!/usr/bin/env python3
"""Makes the tables of docs/results of what tools/gpu/kernels.sh measured: usage: kernels.py OUT

OUT/gemm.json has every plan that was timed; a row of OUT/h100-kernels.json is the best one of a product.
"""
import datetime
import json
import pathlib
import sys

COPY_RATE = 3.02e12  # bytes a second, read and written, of a large copy on an H100 SXM
SHAPES = {(6144, 4096): "qkv", (4096, 4096): "o", (28672, 4096): "gate_up", (4096, 14336): "down"}
# What was to be reached, of ready parts or better.
PREDICTED_SUM = {"8": 80, "16": 82, "64": 86, "128": 96, "256": 106}
TARGETS = {
    "decode bf16": "batch 16: 0.80, 64 and more: 0.90",
    "decode fp8, int8": "batch 16: 0.70, 64: 0.85, 256: 0.92",
    "prefill bf16 tflop_s": "1 x 8192: 550, 4 x 2048: 450, 1 x 512 over 7680: 510, 16 x 512: 300",
    "rope": 0.8,
}


def products(timings):
    best = {}
    for t in timings:
        key = (t["type"], t["m"], SHAPES[(t["n"], t["k"])])
        if key not in best or t["us"] < best[key]["us"]:
            best[key] = t
    return [
        dict(op="linear", type=kind, m=m, shape=shape, n=t["n"], k=t["k"], us=t["us"], plan=t["plan"], weight_tb_s=t["tb_s"],
             tflop_s=t["tflop_s"], **{"share_of_3.02_tb_s": round(t["tb_s"] * 1e12 / COPY_RATE, 2)})
        for (kind, m, shape), t in best.items()
    ]


def sums(rows):
    total = {}
    for row in rows:
        by_tokens = total.setdefault(row["type"], {})
        by_tokens[str(row["m"])] = by_tokens.get(str(row["m"]), 0) + row["us"]
    return {kind: {tokens: round(us, 1) for tokens, us in by_tokens.items()} for kind, by_tokens in total.items()}


def attention(rows):
    for row in rows:
        figure = dict(op=row["op"], what=row["what"], us=row["us"], bytes=row["bytes"])
        if row["flop"]:
            figure |= dict(flop=row["flop"], tflop_per_s=row["tflop_per_s"])
        else:
            figure["share_of_3.02_tb_s"] = round(row["share_of_copy_rate"], 3)
        yield figure


def main(out):
    out = pathlib.Path(out)
    measured = {name: json.loads((out / f"{name}.json").read_text()) for name in ("gemm", "attention", "rows")}
    device, date = measured["attention"]["device"], datetime.date.today().isoformat()
    rows = products(measured["gemm"])
    common = dict(device=device, date=date, command="tools/gpu/kernels.sh OUT")
    kernels = dict(
        **common, note="best plan of each shape; weights and caches cold in L2; launches chained in a CUDA graph; decode includes the combining kernel",
        predicted_us_sum_8bit=PREDICTED_SUM, measured_us_sum=sums(rows), rows=rows,
        attention=dict(targets=TARGETS, rows=list(attention(measured["attention"]["attention"]))))
    (out / "h100-kernels.json").write_text(json.dumps(kernels, indent=1) + "\n")
    of_rows = dict(
        **common, copy_rate_bytes_s=COPY_RATE, rows=measured["rows"],
        note="Median of a launch in graphs of dependent launches, memory cold in the cache. flat: logits of deviation 2; peaked: 16 tokens hold the mass.")
    (out / "h100-rows.json").write_text(json.dumps(of_rows, indent=1) + "\n")
    for kind, by_tokens in kernels["measured_us_sum"].items():
        print(kind, "a layer's four products, us:", by_tokens)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
