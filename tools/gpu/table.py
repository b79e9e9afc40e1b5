#!/usr/bin/env python3
"""Joins the rows of `octet bench sweep` with another engine's figures and the limits: usage: table.py ROWS.jsonl RIVAL.json OUT.json

A row of OUT: workload, max_batch, scheme, kv_dtype, output_tok_s (median of the repeats), vllm_output_tok_s, ratio, limit_output_tok_s, share.
rate-*.json beside ROWS.jsonl, written by `octet bench throughput --arrivals docs/results/arrivals-4-a-second.txt`, become OUT's `at_4_requests_a_second`.
"""
import json
import pathlib
import statistics
import sys


def scheme_family(row):
    return row["scheme"].split("-")[0]


def rival_column(row):
    """The rival has no int8 cache, and an fp8 one only with static scales: the nearest configuration it offers."""
    if row["kv_dtype"] == "fp8":
        return "fp8-static+fp8"
    return scheme_family(row)


def limit_column(row):
    return scheme_family(row) + ("+kv8" if row["kv_dtype"] in ("fp8", "int8") else "")


def main(rows_path, rival_path, out_path):
    rival = json.load(open(rival_path))
    cells = {}
    for line in open(rows_path):
        row = json.loads(line)
        workload = f"{row['input_len']}/{row['output_len']}"
        key = (workload, row["max_batch"], row["scheme"], row["kv_dtype"])
        cells.setdefault(key, []).append(row)
    table = []
    for (workload, batch, scheme, kv), rows in sorted(cells.items()):
        speed = statistics.median(row["output_tok_s"] for row in rows)
        cell = dict(workload=workload, max_batch=batch, scheme=scheme, kv_dtype=kv, requests=rows[0]["requests"], output_tok_s=round(speed, 1))
        theirs = rival["output_tok_s"].get(workload, {}).get(str(batch), {}).get(rival_column(rows[0]))
        limit = rival["limits"]["output_tok_s"].get(workload, {}).get(str(batch), {}).get(limit_column(rows[0]))
        cell["vllm_output_tok_s"] = theirs
        cell["ratio"] = round(speed / theirs, 3) if theirs else None
        cell["limit_output_tok_s"] = limit
        cell["share"] = round(speed / limit, 3) if limit else None
        cell["ttft_ms_p50"] = rows[0]["ttft_ms"]["p50"]
        cell["tpot_ms_p50"] = rows[0]["tpot_ms"]["p50"]
        table.append(cell)
        print(f"{workload:>9} {batch:>4} {scheme:<12} {kv:<5} {speed:>9.1f} tok/s  vLLM {theirs or '-':>7}  {cell['ratio'] or '-':>6}x"
              f"  limit {limit or '-':>7}  {cell['share'] or '-':>5}")
    device = next(iter(cells.values()))[0]["device"] if cells else None
    rated = [against_rate(json.loads(path.read_text()), rival) for path in sorted(pathlib.Path(rows_path).parent.glob("rate-*.json"))]
    for row in rated:
        theirs = row["vllm_ttft_ms"] or {}
        print(f"4 requests a second {row['scheme']:<12} {row['kv_dtype']:<5} TTFT p50 {row['ttft_ms']['p50']:.1f} p99 {row['ttft_ms']['p99']:.1f} ms"
              f"  vLLM {theirs.get('p50', '-')} {theirs.get('p99', '-')}  TPOT p50 {row['tpot_ms']['p50']:.2f} ms")
    json.dump(dict(device=device, model="llama-3.1-8b (random weights)", command="tools/gpu/table.sh OUT", rows=table, at_4_requests_a_second=rated),
              open(out_path, "w"), indent=1)


def against_rate(run, rival):
    """A run with Poisson arrivals, at the same times, beside the rival's: 2,048 tokens in, 128 out, at most 64 sequences at once."""
    theirs = rival["ttft_at_4_requests_a_second_2048_128_batch_64"].get(rival_column(run))
    kept = ("scheme", "kv_dtype", "input_len", "output_len", "max_batch", "requests", "arrivals", "ttft_ms", "tpot_ms")
    return {**{key: run[key] for key in kept}, "vllm_ttft_ms": theirs}


if __name__ == "__main__":
    main(*sys.argv[1:])
