#!/usr/bin/env python3
"""Speed of Octet beside llama.cpp on this CPU, both in one run, turn by turn: A B A B.

usage: tools/compare_llama_cpp.py MODEL.gguf [options]      (`make compare-llama-cpp` builds what it needs first)

Pairs: llama.cpp Q8_0 and `int8-minmax --quantize-head` (8-bit weights and head on both sides), llama.cpp BF16 and `bf16`.
Measured: a prefill of 512 tokens; decode steps of 1, 4 and 16 sequences with 128 tokens before them. Every turn is a process of its own;
a number is the median over the rounds of the medians within each. Run it with nothing else on the machine.

Where nothing can be installed: --octet names a ready program, --llama-site a folder with the llama_cpp package.
"""
import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).resolve().parent / "llama_cpp_worker.py"
PAIRS = [  # name, llama.cpp's type and its file type number, Octet's options
    ("int8", "Q8_0", 7, ["--scheme", "int8-minmax", "--quantize-head"]),
    ("bf16", "BF16", 32, ["--scheme", "bf16"]),
]
# The ratios the project asks of itself.
TARGETS = {"int8": {"prefill": 2.5, "decode 1": 1.3, "decode 16": 3.0}, "bf16": {"prefill": 1.0, "decode 1": 1.0, "decode 16": 1.0}}
ISA_FLAGS = ("avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx512vbmi avx512_bf16 avx_vnni amx_int8 amx_bf16").split()


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file; llama.cpp's Q8_0 and BF16 files are made from it")
    parser.add_argument("--octet", default=str(ROOT / "build/octet"), help="the program (default: build/octet)")
    parser.add_argument("--llama-site", help="folder with the llama_cpp package (default: this Python's own)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpus", help="pin both engines to these, such as 0,1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="within each turn")
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=32, help="decode steps in a repeat")
    parser.add_argument("--decode-batch", default="1,4,16")
    parser.add_argument("--output", default=str(ROOT / "docs/results/cpu-vs-llama-cpp.json"))
    return parser.parse_args()


def machine():
    cpu = {}
    for line in open("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        cpu.setdefault(key.strip(), value.strip())
    flags = set(cpu.get("flags", "").split())
    return {"cpu": cpu.get("model name", platform.machine()), "cpu_family_model": f"{cpu.get('cpu family')}/{cpu.get('model')}",
            "cores": os.cpu_count(), "flags": [f for f in ISA_FLAGS if f in flags], "kernel": platform.release(),
            "nice": os.nice(0), "load_average_before": round(os.getloadavg()[0], 2)}


def shown(command):
    """A command as a user types it in this folder."""
    return shlex.join(word.removeprefix(f"{ROOT}/") for word in command)


def run(command, env=None):
    """Runs a command and returns its standard output; a failure ends the comparison with what it said."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"failed: {shlex.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def metrics(answer):
    return {"prefill": answer["prefill_tok_s"], **{f"decode {d['batch']}": d["tok_s"] for d in answer["decode"]}}


def summary(name, llama_type, turns):
    """Rows of one pair: medians over the rounds, their ratio, and the smallest and largest ratio of two neighbouring turns."""
    rows = []
    for metric in turns[0][0]:
        ours = [o[metric] for _, o in turns]
        theirs = [l[metric] for l, _ in turns]
        ratios = [o / t for o, t in zip(ours, theirs)]
        rows.append({"pair": name, "metric": metric, "llama_cpp_type": llama_type,
                     "llama_cpp_tok_s": round(statistics.median(theirs), 1), "octet_tok_s": round(statistics.median(ours), 1),
                     "ratio": round(statistics.median(ours) / statistics.median(theirs), 3),
                     "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)], "target": TARGETS[name].get(metric)})
    return rows


def print_table(rows):
    print(f"\n{'':24} {'llama.cpp':>12} {'octet':>12} {'ratio':>8}  {'range':<15} target")
    for r in rows:
        target = "" if r["target"] is None else f"{r['target']:.1f} {'reached' if r['ratio'] >= r['target'] else 'MISSED'}"
        low, high = r["ratio_range"]
        print(f"{r['pair'] + ' ' + r['metric'] + ' (' + r['llama_cpp_type'] + ')':24} {r['llama_cpp_tok_s']:12.1f} {r['octet_tok_s']:12.1f} "
              f"{r['ratio']:7.2f}x  {f'{low:.2f} to {high:.2f}':<15} {target}")


def main():
    args = parse_args()
    env = dict(os.environ)
    if args.llama_site:
        env["PYTHONPATH"] = args.llama_site
    if args.cpus:
        os.sched_setaffinity(0, {int(c) for c in args.cpus.split(",")})
    host = machine()
    print(f"{host['cpu']}, {args.threads} threads, load average {host['load_average_before']}; {' '.join(host['flags'])}")
    if host["load_average_before"] > 0.5:
        print("warning: something else is running; the numbers may not be worth keeping (a negative nice helps)")

    batches = args.decode_batch.split(",")
    octet = [args.octet, "bench", "latency", args.model, "--threads", str(args.threads), "--prefill", str(args.prefill), "--context",
             str(args.context), "--steps", str(args.steps), "--repeats", str(args.repeats), "--decode-batch", args.decode_batch, "--json"]
    rows, commands, versions = [], {}, {"octet": run([args.octet, "--version"]).strip()}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, llama_type, ftype, _ in PAIRS:
            files[name] = f"{folder}/{llama_type}.gguf"
            run([sys.executable, str(WORKER), "quantize", args.model, files[name], str(ftype)], env)
        turns = {name: [] for name, *_ in PAIRS}
        for i in range(args.rounds):
            for name, llama_type, _, options in PAIRS:
                theirs_command = [sys.executable, str(WORKER), "measure", files[name], *map(str, (
                    args.threads, args.prefill, args.context, args.steps, args.repeats)), *batches]
                theirs = json.loads(run(theirs_command, env).splitlines()[-1])
                ours = json.loads(run(octet + options))
                commands[name] = shown(octet + options)
                versions["llama.cpp"], host["llama_cpp_features"], host["octet_device"] = theirs["version"], theirs["device"], ours["device"]
                turns[name].append((metrics(theirs), metrics(ours)))
                print(f"round {i + 1} of {args.rounds}, {name}: " + ", ".join(
                    f"{m} {o / l:.2f}x" for (m, l), o in zip(turns[name][-1][0].items(), turns[name][-1][1].values())), flush=True)
    for name, llama_type, *_ in PAIRS:
        rows += summary(name, llama_type, turns[name])
    host["load_average_after"] = round(os.getloadavg()[0], 2)

    print_table(rows)
    result = {"what": "tokens a second on one CPU, Octet beside llama.cpp, both measured turn by turn in one run", "date": time.strftime("%Y-%m-%d"),
              "command": shown([str(Path(sys.argv[0]).resolve()), *sys.argv[1:]]), "octet_commands": commands, "versions": versions, "machine": host,
              "settings": {"model": Path(args.model).name, "threads": args.threads, "cpus": args.cpus, "rounds": args.rounds,
                           "repeats": args.repeats, "prefill": args.prefill, "context": args.context, "steps": args.steps},
              "results": rows}
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
