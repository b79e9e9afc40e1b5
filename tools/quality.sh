#!/usr/bin/env bash
# What the schemes cost SmolLM2, as it is and with planted outlier channels: quantizes, evaluates, collects the rows.
# usage: tools/quality.sh EVAL_TEXT CALIBRATION_TEXT [OUT.json]     half an hour on two cores; what is there already is kept
#   EVAL_TEXT: wiki.test.raw of WikiText-2, 12 windows of 1,024 tokens; CALIBRATION_TEXT: other text, 8,192 tokens of it
#   OCTET, MODEL, WORK: program, 16-bit checkpoint, folder for the checkpoints in between
set -euo pipefail
cd "$(dirname "$0")/.."
text=$1 calibration=$2 out=${3:-docs/results/quality-smollm2.json}
octet=${OCTET:-build/octet} model=${MODEL:-models/smollm2-135m-instruct.gguf} work=${WORK:-models/quality}
mkdir -p "$work/plain" "$work/planted"

# make_checkpoint VARIANT NAME SOURCE SCHEME [OPTION]...
make_checkpoint() {
  local folder=$work/$1/$2 source=$3 scheme=$4
  shift 4
  [ -e "$folder" ] || "$octet" quantize "$source" --scheme "$scheme" --calibration "$calibration" --samples 16 "$@" -o "$folder"
}
compare() { # VARIANT SOURCE SCHEMES_WHILE_LOADING CHECKPOINTS
  local schemes=$3
  for name in $4; do schemes+=,$work/$1/$name; done
  "$octet" eval compare "$2" --schemes "$schemes" --data "$text" --limit 12 --output "$work/$1.json" >/dev/null
}

planted=$work/smollm2-planted-16
[ -e "$planted" ] || "$octet" plant "$model" --strength 16 --channels 3 -o "$planted"
for variant in plain planted; do
  source=$model
  [ $variant = plain ] || source=$planted
  make_checkpoint $variant int8 "$source" int8
  make_checkpoint $variant fp8-gptq "$source" fp8 --weights gptq
done
make_checkpoint plain int8-alpha-0.5 "$model" int8 --alpha 0.5
make_checkpoint plain int8-static "$model" int8-static
make_checkpoint plain fp8-static "$model" fp8-static
make_checkpoint plain w4a16-gptq "$model" w4a16 --weights gptq
compare plain "$model" int8-minmax,fp8,llm-int8,w8a16,w4a16 "int8 int8-alpha-0.5 fp8-gptq int8-static fp8-static w4a16-gptq"
compare planted "$planted" int8-minmax,fp8,llm-int8 "int8 fp8-gptq"

python3 - "$work" "$out" <<'PY'
import json, sys
work, out = sys.argv[1:]
rows = []
for variant in ("plain", "planted"):
    found = json.load(open(f"{work}/{variant}.json"))["rows"]
    base = found[0]["perplexity"]
    for row in found:
        rows.append({"variant": variant, "scheme": row["scheme"].rsplit("/", 1)[-1], "perplexity": round(row["perplexity"], 4),
                     "over_16_bit": round(row["perplexity"] / base - 1, 5), "kl": round(row["kl"], 5), "top1": round(row["top1"], 4)})
command = "tools/quality.sh wiki.test.raw CALIBRATION_TEXT"
json.dump({"model": "SmolLM2-135M-Instruct", "command": command, "windows": 12, "window": 1024, "calibration_tokens": 8192, "rows": rows},
          open(out, "w"), indent=1)
open(out, "a").write("\n")
for row in rows:
    print(f'{row["variant"]:8} {row["scheme"]:16} {row["perplexity"]:9.4f} {100 * row["over_16_bit"]:+7.2f} %  KL {row["kl"]:.5f}  top-1 {100 * row["top1"]:.1f} %')
PY
