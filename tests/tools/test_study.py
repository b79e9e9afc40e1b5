"""tools/study.sh with a stand-in for octet: which commands it gives, what it keeps, what it says of one that fails."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

OCTET = """#!{python}
import os, sys
args = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(" ".join(args) + "\\n")
if os.environ.get("FAIL") and os.environ["FAIL"] in args:
    sys.exit("octet: error: no")
output = args[args.index("--output" if "--output" in args else "-o") + 1]
open(output, "a").write("{{}}\\n")
"""


@pytest.fixture
def study(tmp_path):
    octet = tmp_path / "octet"
    octet.write_text(OCTET.format(python=sys.executable))
    octet.chmod(0o755)
    (tmp_path / "text").write_text("a text")
    calls = tmp_path / "calls"

    def run(*args, code=0, **environment):
        calls.write_text("")
        env = {**os.environ, "OCTET_BIN": str(octet), "CALLS": str(calls), "MODEL": str(octet), "TEXT": str(tmp_path / "text"), **environment}
        done = subprocess.run([ROOT / "tools/study.sh", tmp_path / "out", *args], env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return calls.read_text().splitlines(), done.stderr

    return run


def test_the_whole_study_and_then_what_is_missing(study, tmp_path):
    calls, _ = study("cpu", VARIANTS="bf16:auto int8-minmax:int8")
    names = [" ".join(call.split()[:2]) for call in calls]
    assert [names.count(n) for n in ("bench sweep", "eval compare")] == [2 + 1 + 2 * 3, 1]
    profiles = [call for call in calls if call.startswith("profile ")]
    assert len(profiles) == 2 and "--schemes int8-minmax --kv-dtypes int8" in profiles[1]
    assert calls[-1].startswith("report ") and all(
        name in calls[-1] for name in ("speed.jsonl", "static.jsonl", "rate.jsonl", "quality.json", "profile-bf16-auto.json"))
    (tmp_path / "out/profile-bf16-auto.json").unlink()
    again, _ = study("cpu", "profile", VARIANTS="bf16:auto int8-minmax:int8")
    assert len(again) == 1 and "--schemes bf16" in again[0]


def test_schemes_over_one_kind_of_cache_are_measured_by_turns(study):
    calls, _ = study("cpu", "speed", VARIANTS="bf16:auto int8-minmax:int8 fp8:auto")
    assert [call.split("--schemes ")[1].split(" --workloads")[0] for call in calls] == ["bf16,fp8 --kv-dtypes auto", "int8-minmax --kv-dtypes int8"]
    assert all("--repeats 3" in call for call in calls)


def test_every_max_batch_gets_as_many_requests_at_a_rate(study):
    calls, _ = study("cuda", "rate", VARIANTS="fp8:auto", RATE_BATCHES="16,64")
    assert [call.split("--workloads ")[1].split(" --repeats")[0] for call in calls] == [
        "2048/128x6 --max-batches 16 --rates 4", "2048/128x2 --max-batches 64 --rates 4"]
    assert all("--backend cuda --random-weights llama-3.1-8b" in call for call in calls)


def test_the_steps_and_static_scales_of_a_gpu_in_one_call(study):
    calls, _ = study("cuda", "profile", "static")
    variants = [call.split("--schemes ")[1].split(" --batches")[0] for call in calls[:5]]
    assert variants == ["bf16 --kv-dtypes auto", "fp8 --kv-dtypes auto", "int8-minmax --kv-dtypes auto", "fp8-static --kv-dtypes fp8", "int8-minmax --kv-dtypes int8"]
    assert all("--batches 1,16,64,256 --contexts 128,1024,2048,8192 --prefill 512,2048,8192" in call for call in calls[:5])
    assert len(calls) == 6 and "--schemes fp8,fp8-static --kv-dtypes fp8" in calls[5] and "--max-batches 64,256 --rates 0" in calls[5]
    calls, _ = study("cuda", "profile", VARIANTS="fp8:fp8", STEPS="1,2 30,40 50")
    assert len(calls) == 1 and "--batches 1,2 --contexts 30,40 --prefill 50 " in calls[0]


def test_what_fails_is_named_and_the_rest_is_measured(study):
    calls, errors = study("cpu", "speed", code=1, VARIANTS="bf16:auto fp8:fp8", FAIL="bf16")
    assert len(calls) == 2 and "speed-bf16-auto failed: octet: error: no" in errors


@pytest.mark.parametrize("args, code, expected", [
    (["tpu"], 2, "expected cpu or cuda"),
    (["cpu", "speeed"], 2, "no part 'speeed'"),
    (["cpu", "report"], 1, "no results yet"),
])
def test_what_makes_no_sense(study, args, code, expected):
    calls, errors = study(*args, code=code)
    assert calls == [] and expected in errors


def test_quality_without_a_text_is_left_out_with_a_line(study):
    calls, errors = study("cpu", "quality", TEXT="no-such-text")
    assert calls == [] and "no-such-text" in errors
