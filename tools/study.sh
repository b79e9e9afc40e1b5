#!/usr/bin/env bash
# The whole study on one machine: speed by scheme, workload and max batch; FP8 with static and dynamic scales at the largest batches;
# time to first token at 4 requests a second; steps taken apart; quality by scheme; and the report of it all.
#
#   tools/study.sh OUT [cpu|cuda] [PART]...      parts, all by default and in this order: speed static rate profile quality report
#
# cpu (the default): the shape of SmolLM2-135M, sizes for two cores. cuda: that of Llama-3.1-8B on a Hopper GPU with 80 GB.
# Speed is measured on random weights of the shape, quality on a real model. OUT keeps each measurement as soon as it is there: what was
# interrupted goes on with the same command, and parts and variants can be measured in calls of their own.
#
#   VARIANTS     SCHEME:KV..., a subset, such as "bf16:auto fp8:auto"
#   BATCHES      max batches of the part speed, such as 1,16; RATE_BATCHES: of rate; STATIC_BATCHES: of static
#   WORKLOADS    of speed, INPUT/OUTPUTxREQUESTS a sequence
#   STEPS        of profile: BATCHES CONTEXTS PROMPTS, such as "1,16 128,1024 512"; what the memory has no room for is left out
#   SHAPE        another shape, as --random-weights takes it
#   MODEL, TEXT  of quality: a checkpoint (models/smollm2-135m-instruct.gguf) and a text (data/wikitext-2/wiki.test.raw)
#   CALIBRATION  other text for the schemes that are calibrated (by default the model writes it)
#   MMLU         a folder of MMLU; QUESTIONS of each subject (2)
#   WINDOWS      of 1,024 tokens of TEXT (4)
#   REPEATS      of each run of speed and static (cuda 1, cpu 3: others may use the machine)
#   OCTET_BIN    the program (build/octet)
# shellcheck disable=SC2317  # parts are called by name
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -ge 1 ] || { sed -n '5s/^# *//p' "$0" >&2; exit 2; }
out=$1
machine=${2:-cpu}
shift $(($# < 2 ? $# : 2))
parts=("$@")
[ $# -gt 0 ] || parts=(speed static rate profile quality report)
octet=${OCTET_BIN:-build/octet}

case $machine in
  cpu)
    shape=${SHAPE:-smollm2-135m}
    read -ra variants <<<"${VARIANTS:-bf16:auto int8-minmax:auto int8-minmax:int8 fp8:auto fp8-static:auto}"
    profiled=("${variants[@]}")
    workloads=256/32x2,32/256x2 batches=${BATCHES:-1,4,16}
    static_kv=auto static_workloads=256/32x1,32/256x1 static_batches=${STATIC_BATCHES:-16}
    repeats=${REPEATS:-3}
    rated=256/32 rate_requests=32 rate_batches=${RATE_BATCHES:-1,4,16}
    steps=${STEPS:-1,4,16 128,512,2048 128,512}
    ;;
  cuda)
    shape=${SHAPE:-llama-3.1-8b}
    read -ra variants <<<"${VARIANTS:-bf16:auto fp8:auto int8-minmax:auto fp8-static:auto fp8-static:fp8 int8-minmax:int8}"
    read -ra profiled <<<"${VARIANTS:-bf16:auto fp8:auto int8-minmax:auto fp8-static:fp8 int8-minmax:int8}"
    workloads=2048/128x2,128/2048x1 batches=${BATCHES:-1,4,16,64,256}
    static_kv=fp8 static_workloads=2048/128x1,128/256x1 static_batches=${STATIC_BATCHES:-64,256}
    repeats=${REPEATS:-1}
    rated=2048/128 rate_requests=96 rate_batches=${RATE_BATCHES:-16,64}
    steps=${STEPS:-1,16,64,256 128,1024,2048,8192 512,2048,8192}
    ;;
  *)
    echo "study: '$machine': expected cpu or cuda" >&2
    exit 2
    ;;
esac
[ -x "$octet" ] || { echo "study: $octet is not there: make build, or OCTET_BIN=PROGRAM" >&2; exit 1; }
mkdir -p "$out/logs"
failed=0

# step NAME COMMAND...: the command's output goes to logs/NAME.log; one that fails is told, and the next one is tried.
step() {
  local log="$out/logs/$1.log" started=$SECONDS
  if "${@:2}" >"$log" 2>&1; then
    echo "study: $1, $((SECONDS - started)) s"
  else
    echo "study: $1 failed: $(tail -n 1 "$log") ($log)" >&2
    failed=1
  fi
}

sweep() { # NAME SCHEMES:KV WORKLOADS BATCHES RATE OUTPUT REPEATS
  local name=${2/:/-}
  step "$1-${name//,/-}" "$octet" bench sweep --backend "$machine" --random-weights "$shape" --schemes "${2%%:*}" --kv-dtypes "${2#*:}" \
    --workloads "$3" --max-batches "$4" --rates "$5" --repeats "$7" --output "$6"
}

# The schemes over one kind of cache are one sweep, which takes them by turns.
speed() {
  local kv variant schemes
  for kv in $(printf '%s\n' "${variants[@]#*:}" | sort -u); do
    schemes=
    for variant in "${variants[@]}"; do [ "${variant#*:}" != "$kv" ] || schemes+=${schemes:+,}${variant%%:*}; done
    sweep speed "$schemes:$kv" "${WORKLOADS:-$workloads}" "$batches" 0 "$out/speed.jsonl" "$repeats"
  done
}

# Both with the same cache, in one sweep; of fewer requests than in speed, so that a report does not take them together.
static() { sweep static "fp8,fp8-static:$static_kv" "$static_workloads" "$static_batches" 0 "$out/static.jsonl" "$repeats"; }

# As many requests at each max batch.
rate() {
  for variant in "${variants[@]}"; do
    for batch in ${rate_batches//,/ }; do
      sweep "rate-$batch" "$variant" "${rated}x$(((rate_requests + batch - 1) / batch))" "$batch" 4 "$out/rate.jsonl" 1
    done
  done
}

# Loading takes most of the time on a GPU: a variant is loaded once for all its steps.
profile() {
  local batches contexts prompts name
  read -r batches contexts prompts <<<"$steps"
  for variant in "${profiled[@]}"; do
    name="profile-${variant/:/-}"
    [ -s "$out/$name.json" ] || step "$name" "$octet" profile --backend "$machine" --random-weights "$shape" --schemes "${variant%%:*}" \
      --kv-dtypes "${variant#*:}" --batches "$batches" --contexts "$contexts" --prefill "$prompts" --repeats 3 --output "$out/$name.json"
  done
}

quality() {
  local model=${MODEL:-models/smollm2-135m-instruct.gguf} text=${TEXT:-data/wikitext-2/wiki.test.raw} more=()
  if ! [ -e "$model" ] || ! [ -e "$text" ]; then
    echo "study: quality is left out: $model or $text is not there (MODEL=CHECKPOINT TEXT=FILE)" >&2
    return
  fi
  [ -z "${CALIBRATION:-}" ] || more+=(--calibration "$CALIBRATION")
  [ -z "${MMLU:-}" ] || more+=(--mmlu "$MMLU" --questions "${QUESTIONS:-2}")
  step quality "$octet" eval compare "$model" --backend "$machine" --schemes int8-minmax,int8,int8-static,fp8,fp8-static,llm-int8 --data "$text" \
    --limit "${WINDOWS:-4}" --checkpoints "$out/checkpoints" --output "$out/quality.json" "${more[@]}"
}

report() {
  local results=()
  for file in "$out"/{speed,static,rate}.jsonl "$out"/profile-*.json "$out/quality.json"; do
    [ -s "$file" ] && results+=("$file")
  done
  [ "${#results[@]}" -gt 0 ] || { echo "study: $out has no results yet" >&2; failed=1; return; }
  grep -qs 'H100 80GB' "$out/speed.jsonl" && results+=(docs/results/h100-vllm.json)
  step report "$octet" report "${results[@]}" -o "$out/report.html" --svg "$out/pictures" --csv "$out/tables"
}

for part in "${parts[@]}"; do
  case $part in
    speed | static | rate | profile | quality | report) "$part" ;;
    *)
      echo "study: no part '$part': expected speed, static, rate, profile, quality or report" >&2
      exit 2
      ;;
  esac
done
exit "$failed"
