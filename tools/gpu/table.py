#!/usr/bin/env python3
"""Joins the rows of `octet bench sweep` with another engine's figures and the limits: usage: table.py ROWS.jsonl RIVAL.json OUT.json

A row of OUT: workload, max_batch, scheme, kv_dtype, output_tok_s (median of the repeats), vllm_output_tok_s, ratio, limit_output_tok_s, share.
"""
import json
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
    json.dump(dict(device=device, model="llama-3.1-8b (random weights)", command="tools/gpu/table.sh OUT", rows=table), open(out_path, "w"), indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
