#!/usr/bin/env python3
"""What the schemes cost SmolLM2, as it is and with planted outlier channels: quantizes, evaluates, collects the rows.

    tools/quality.py --text wiki.test.raw --calibration TEXT [--mmlu FOLDER] [--rows REGEX] [--output FILE.json]

--text is cut into 12 windows of 1,024 tokens; of --calibration, other text, 8,192 tokens are used. Each row becomes a file in --work as soon as it is
found: what is there is kept, so the command can be stopped and run again. Rows run side by side, one a core. With --mmlu the main schemes answer
questions too, on all cores, after the rows. About 60 minutes of CPU time, and as much again for 60 questions a subject of MMLU.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Rows: name, scheme, options. LOADED is quantized while loading, TEXT calibrated on --calibration, SELF on what the model writes, as by default.
LOADED = [
    ("int8-minmax", "int8-minmax"),
    ("llm-int8", "llm-int8"),
    ("fp8", "fp8"),
    ("w8a16", "w8a16"),
    ("w8a16-fp8", "w8a16-fp8"),
    ("w4a16", "w4a16"),
    ("w4a16-32", "w4a16:32"),
    ("kv-int8", "bf16 --kv-dtype int8"),
    ("kv-fp8", "bf16 --kv-dtype fp8"),
]
MAIN = [  # of every variant
    ("int8", "int8"),
    ("int8-static", "int8-static"),
    ("int8-static-asym", "int8-static-asym"),
    ("fp8-gptq", "fp8 --weights gptq"),
    ("fp8-static", "fp8-static"),
    ("w4a16-gptq", "w4a16 --weights gptq"),
]
TEXT = MAIN + [
    ("int8-alpha-0.3", "int8 --alpha 0.3"),
    ("int8-alpha-0.5", "int8 --alpha 0.5"),
    ("int8-alpha-0.7", "int8 --alpha 0.7"),
    ("int8-alpha-0.85", "int8 --alpha 0.85"),
    ("int8-gptq", "int8 --weights gptq"),
    ("int8-static-unsafe", "int8-static --keep-static --alpha none --observer absmax"),
    ("int8-static-unsafe-alpha-0.7", "int8-static --keep-static --alpha 0.7 --observer absmax"),
    ("fp8-static-unsafe", "fp8-static --keep-static"),
    ("fp8-static-gptq", "fp8-static --weights gptq"),
    ("w4a16-mse", "w4a16 --weights mse"),
    ("w8a16-gptq", "w8a16 --weights gptq"),
    ("kv-int8-static", "bf16 --kv-dtype int8"),
    ("kv-int8-static-head", "bf16 --kv-dtype int8 --kv-scales head"),
    ("kv-fp8-static", "bf16 --kv-dtype fp8"),
]
SELF = [("int8-self", "int8"), ("int8-static-self", "int8-static"), ("fp8-gptq-self", "fp8 --weights gptq")]
PLANTED_ALPHAS = [("int8-alpha-0.5", "int8 --alpha 0.5"), ("int8-alpha-0.85", "int8 --alpha 0.85")]
# Rows that an independent simulation has too, calibrated on the same tokens (the first 8,192, in sequences of 1,024), with KL of the first 4 windows.
SIMULATED = [row for row in TEXT if row[0].startswith("int8-alpha")] + [
    ("int8-static-unsafe", "int8-static --keep-static --alpha none --observer absmax"),
    ("int8-static-unsafe-alpha-0.7", "int8-static --keep-static --alpha 0.7 --observer absmax"),
    ("fp8-static", "fp8-static --keep-static"),
]
SIMULATED_PLANTED = [row for row in SIMULATED if row[0] in ("int8-alpha-0.5", "int8-alpha-0.85", "int8-static-unsafe", "fp8-static")]
SIMULATED_LOADED = [row for row in LOADED if row[0] in ("int8-minmax", "llm-int8", "fp8", "w8a16")]
DYNAMIC = [row for row in LOADED if row[0] in ("int8-minmax", "llm-int8", "fp8")]
# Variants: name, planted strength and seed, rows.
VARIANTS = [
    ("plain", None, None, {"loaded": LOADED, "text": TEXT, "self": SELF}),
    ("planted", 16, 3, {"loaded": [r for r in LOADED if not r[0].startswith("kv")], "text": MAIN + PLANTED_ALPHAS}),
    ("planted-4", 4, 3, {"loaded": DYNAMIC, "text": MAIN[:1] + MAIN[3:4]}),
    ("planted-64", 64, 3, {"loaded": DYNAMIC, "text": MAIN[:1] + MAIN[3:4]}),
] + [(f"planted-seed-{seed}", 16, seed, {"loaded": DYNAMIC, "text": MAIN[:1]}) for seed in (1, 2, 4, 5)] + [
    ("first-tokens", None, None, {"loaded": SIMULATED_LOADED, "first": SIMULATED}),
    ("first-tokens-planted", 16, 3, {"loaded": SIMULATED_LOADED[:3], "first": SIMULATED_PLANTED}),
]
PLANTED = {name: strength for name, strength, *_ in VARIANTS}
MMLU_SCHEMES = ["int8-minmax", "fp8"]  # beside `int8`


class Runner:
    def __init__(self, args):
        self.args = args
        self.work = Path(args.work)
        for variant, *_ in VARIANTS:
            (self.work / variant).mkdir(parents=True, exist_ok=True)

    def octet(self, log, *command, threads):
        command = [self.args.octet, *map(str, command), "--threads", str(threads)] if threads else [self.args.octet, *map(str, command)]
        with open(log, "a") as out:
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=out)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}; see {log}")

    def source(self, variant):
        return self.work / variant / "model" if PLANTED[variant] else self.args.model

    def plant(self, variant, strength, seed):
        folder = self.work / variant
        if strength and not (folder / "model").exists():
            self.octet(folder / "plant.log", "plant", self.args.model, "--strength", strength, "--channels", 3, "--seed", seed, "-o", folder / "model", threads=0)

    def quantize(self, variant, name, options, calibration, threads):
        folder = self.work / variant / name
        if not folder.exists():
            scheme = options.split()
            data = []  # the model's own text
            if calibration == "text":
                data = ["--calibration", self.args.calibration, "--samples", 16]
            elif calibration == "first":
                data = ["--calibration", self.first_tokens(), "--samples", 8, "--sequence-length", 1024]
            self.octet(self.work / variant / f"{name}.log", "quantize", self.source(variant), "--scheme", *scheme, *data, "-o", folder, threads=threads)
        return folder

    def first_tokens(self):
        """The beginning of the calibration text that has just 8,192 tokens."""
        path = self.work / "first-tokens.txt"
        if not path.exists():
            text = Path(self.args.calibration).read_text(encoding="utf-8")[:120000]
            low, high = 0, len(text)
            while low < high:
                middle = (low + high) // 2
                done = subprocess.run([self.args.octet, "tokenize", self.args.model, "-", "--json", "--no-special"], input=text[:middle], capture_output=True,
                                      text=True, check=True)
                low, high = (low, middle) if json.loads(done.stdout)["count"] >= 8192 else (middle + 1, high)
            path.write_text(text[:low], encoding="utf-8")
        return path

    def row(self, variant, kind, name, options):
        out = self.work / variant / f"{name}.json"
        model, how = self.source(variant), ["--scheme", *options.split()]
        if kind != "loaded":
            model = self.quantize(variant, name, options, kind, self.args.threads)
            shutil.copy(model / "calibration.json", self.work / variant / f"{name}.calibration")
            kv = re.search(r"--kv-dtype (\w+)", options)
            how = ["--kv-dtype", kv[1]] if kv else []
        windows = {out: self.args.windows}
        if variant.startswith("first-tokens"):
            windows = {self.work / variant / f"{name}.4": min(4, self.args.windows), out: self.args.windows}
        for path, limit in windows.items():
            self.octet(self.work / variant / f"{name}.log", "eval", "divergence", model, *how, "--baseline", self.source(variant), "--data", self.args.text,
                       "--limit", limit, "--output", path, threads=self.args.threads)
        if kind != "loaded":
            shutil.rmtree(model)
        return f"{variant}/{name}"

    def mmlu(self):
        threads = os.cpu_count()
        int8 = self.quantize("plain", "int8", "int8", "text", threads)
        self.octet(self.work / "mmlu.log", "eval", "compare", self.args.model, "--schemes", ",".join([str(int8), *MMLU_SCHEMES]), "--data", self.args.text,
                   "--limit", self.args.windows, "--mmlu", self.args.mmlu, "--questions", self.args.questions, "--output", self.work / "mmlu.json",
                   "--report", self.work / "mmlu.html", threads=threads)


def run_rows(runner, wanted):
    args = runner.args
    for variant, strength, seed, _ in VARIANTS:
        if any(w[0] == variant for w in wanted):
            runner.plant(variant, strength, seed)
    if any(kind == "first" for _, kind, *_ in wanted):
        runner.first_tokens()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        running = [pool.submit(runner.row, *row) for row in wanted]
        try:
            for i, done in enumerate(concurrent.futures.as_completed(running)):
                print(f"{i + 1}/{len(wanted)} {done.result()}", file=sys.stderr, flush=True)
        except BaseException:  # Ctrl-C too
            pool.shutdown(cancel_futures=True)
            raise


def all_rows():
    for variant, _, _, rows in VARIANTS:
        for kind in ("self", "text", "first", "loaded"):  # the long ones first
            for name, options in rows.get(kind, []):
                yield variant, kind, name, options


def collect(work, args):
    rows, devices = [], set()
    for variant, kind, name, options in all_rows():
        found = work / variant / f"{name}.json"
        if not found.exists():
            continue
        result = json.loads(found.read_text())
        row = {"variant": variant, "scheme": name, "options": options, "calibration": kind if kind != "loaded" else None,
               "perplexity": round(result["perplexity"], 4), "over_16_bit": round(result["ratio"] - 1, 5), "over_16_bit_error": round(result["ratio_error"], 5),
               "kl": round(result["kl"], 5), "kl_error": round(result["kl_error"], 5), "top1": round(result["top1"], 4)}
        first = work / variant / f"{name}.4"
        if first.exists():
            row["kl_of_4_windows"] = round(json.loads(first.read_text())["kl"], 5)
        calibration = work / variant / f"{name}.calibration"
        if calibration.exists():
            row["calibrated"] = json.loads(calibration.read_text())["summary"]
        if not any(r["variant"] == variant for r in rows):
            rows.append({"variant": variant, "scheme": "baseline", "perplexity": round(result["baseline_perplexity"], 4), "over_16_bit": 0, "kl": 0, "top1": 1})
        rows.append(row)
        devices.add(result["device"])
    out = {"model": "SmolLM2-135M-Instruct", "command": "tools/quality.py --text wiki.test.raw --calibration TEXT --mmlu FOLDER", "devices": sorted(devices),
           "windows": args.windows, "window": 1024, "calibration_tokens": 8192, "rows": rows}
    if (work / "mmlu.json").exists():
        comparison = json.loads((work / "mmlu.json").read_text())
        out["mmlu"] = {"questions_per_subject": args.questions, "device": comparison["device"],
                       "rows": [{"scheme": Path(r["scheme"]).name, **r["mmlu"]} for r in comparison["rows"]]}
    return out


def show(out):
    for row in out["rows"]:
        print(f'{row["variant"]:15} {row["scheme"]:29} {row["perplexity"]:9.4f} {100 * row["over_16_bit"]:+7.2f} %  KL {row["kl"]:.5f}  top-1 {100 * row["top1"]:.1f} %')
    for row in out.get("mmlu", {}).get("rows", []):
        paired = row.get("paired")
        print(f'MMLU {row["scheme"]:15} {100 * row["acc"]:.2f} +- {100 * row["acc_error"]:.2f} %' + (f'  {json.dumps(paired)}' if paired else ""))


def main():
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--mmlu", help="folder of MMLU")
    parser.add_argument("--questions", type=int, default=60, help="a subject")
    parser.add_argument("--rows", default="", help="only rows whose VARIANT/NAME matches; ^$ for none")
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=cores)
    parser.add_argument("--threads", type=int, default=1, help="of each job")
    parser.add_argument("--octet", default=str(ROOT / "build/octet"))
    parser.add_argument("--model", default=str(ROOT / "models/smollm2-135m-instruct.gguf"))
    parser.add_argument("--work", default=str(ROOT / "build/quality"))
    parser.add_argument("--output", default=str(ROOT / "docs/results/quality-smollm2.json"))
    args = parser.parse_args()
    work = Path(args.work)
    runner = Runner(args)
    wanted = [row for row in all_rows() if re.search(args.rows, f"{row[0]}/{row[2]}") and not (work / row[0] / f"{row[2]}.json").exists()]
    try:
        run_rows(runner, wanted)
        if args.mmlu and not (work / "mmlu.json").exists():
            runner.mmlu()
    except (RuntimeError, OSError) as error:
        sys.exit(f"quality.py: {error}")
    except KeyboardInterrupt:
        sys.exit("quality.py: stopped; the same command goes on from here")
    out = collect(work, args)
    Path(args.output).write_text(json.dumps(out, indent=1) + "\n")
    show(out)


if __name__ == "__main__":
    main()
