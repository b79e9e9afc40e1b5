#!/usr/bin/env bash
# Llama-3.1-8B's shape behind HTTP on one Hopper GPU, server and client on the same machine, beside the same requests without a server.
#
#   tools/gpu/http.sh OUT       OUT/*.json of each run, OUT/h100-http.json in the end
#
# BIN: the folder of programs; SCHEME (fp8), KV (auto), STEP_TOKENS (4096).
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
bin=$(realpath "${BIN:-build}")
export LD_LIBRARY_PATH=$bin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
mkdir -p "$out"
shape=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$shape"' EXIT
python3 tools/gpu/make_checkpoint.py "$shape/llama-3.1-8b" 0
model=(--backend cuda --random-weights "$shape/llama-3.1-8b" --scheme "${SCHEME:-fp8}" --kv-dtype "${KV:-auto}" --max-context 2304
  --max-step-tokens "${STEP_TOKENS:-4096}")

"$bin/octet" serve "${model[@]}" --max-batch 256 --no-prefix-cache --port 0 >"$out/serve.txt" 2>"$out/serve.log" &
server=$!
until grep -q ^ready "$out/serve.txt"; do kill -0 $server && sleep 0.2; done
url=$(sed -n 's/^ready: //p' "$out/serve.txt")
load() { # NAME INPUT OUTPUT OPEN REQUESTS
  "$bin/octet" bench serve "$url" --input-len "$2" --output-len "$3" --max-concurrency "$4" --num-prompts "$5" --warm-up "$4" \
    --output "$out/$1.json" >"$out/$1.txt" 2>"$out/$1.log" || tail -n 3 "$out/$1.log" >&2
}
load served-128-128-1 128 128 1 8
load served-128-128-64 128 128 64 256
load served-128-128-256 128 128 256 1536
load served-2048-128-32 2048 128 32 192
load served-2048-128-256 2048 128 256 512
kill "$server"
wait "$server" || true
offline() { # NAME INPUT OUTPUT BATCH REQUESTS
  "$bin/octet" bench throughput "${model[@]}" --max-batch "$4" --input-len "$2" --output-len "$3" --requests "$5" --output "$out/$1.json" >"$out/$1.txt" 2>"$out/$1.log" ||
    tail -n 3 "$out/$1.log" >&2
}
offline offline-128-128-256 128 128 256 1536
offline offline-2048-128-256 2048 128 256 512
python3 - "$out" "${SCHEME:-fp8}" "${KV:-auto}" "${STEP_TOKENS:-4096}" <<'END'
import json, pathlib, sys
out, scheme, kv, step_tokens = pathlib.Path(sys.argv[1]), *sys.argv[2:]
# Behind its server, fp8, on such a card: docs/results/h100-vllm.json's engine.
vllm = {"128/128 1": dict(output_tok_s=231, ttft_ms_p50=17), "128/128 64": dict(output_tok_s=9485, ttft_ms_p50=166),
        "128/128 256": dict(output_tok_s=14569, ttft_ms_p50=459), "2048/128 32": dict(output_tok_s=2042, ttft_ms_p50=401, ttft_ms_p99=1079),
        "2048/128 256": dict(output_tok_s=2565)}
rows = []
for path in sorted(out.glob("served-*.json")):
    run = json.loads(path.read_text())
    lengths, n_open = "/".join(path.stem.split("-")[1:3]), int(path.stem.split("-")[3])
    row = dict(workload=lengths, open_requests=n_open, requests=run["num_prompts"], output_tok_s=round(run["output_throughput"], 1),
               ttft_ms_p50=round(run["median_ttft_ms"], 1), ttft_ms_p99=round(run["p99_ttft_ms"], 1), tpot_ms_p50=round(run["median_tpot_ms"], 2))
    alone = out / f"offline-{lengths.replace('/', '-')}-{n_open}.json"
    if alone.exists():
        row["offline_output_tok_s"] = round(json.loads(alone.read_text())["output_tok_s"], 1)
        row["share_of_offline"] = round(row["output_tok_s"] / row["offline_output_tok_s"], 3)
    row["vllm"] = vllm.get(f"{lengths} {n_open}")
    rows.append(row)
    print(row)
device = json.loads((out / "offline-128-128-256.json").read_text())["device"]
(out / "h100-http.json").write_text(json.dumps(dict(device=device, model="llama-3.1-8b (random weights)", scheme=scheme, kv_dtype=kv, max_step_tokens=int(step_tokens),
                                                    command="tools/gpu/http.sh OUT", rows=rows), indent=1) + "\n")
END
