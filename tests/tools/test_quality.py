"""tools/quality.py with a stand-in for octet: rows side by side, kept, collected; a row that fails is named."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

OCTET = """#!{python}
import json, os, sys
args = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(" ".join(args) + "\\n")
option = lambda name: args[args.index(name) + 1]
if os.environ.get("FAIL") and os.environ["FAIL"] in args:
    sys.exit("octet: error: no")
if args[0] in ("quantize", "plant"):
    os.makedirs(option("-o"))
    open(os.path.join(option("-o"), "calibration.json"), "w").write('{{"summary": "120 inputs"}}')
else:
    result = dict(perplexity=27.0, baseline_perplexity=26.0, ratio=27 / 26, ratio_error=0.001, kl=0.03, kl_error=0.001, top1=0.9, device="a CPU")
    open(option("--output"), "w").write(json.dumps(result))
"""


@pytest.fixture
def quality(tmp_path):
    octet = tmp_path / "octet"
    octet.write_text(OCTET.format(python=sys.executable))
    octet.chmod(0o755)

    def run(rows, code=0, **environment):
        done = subprocess.run([sys.executable, ROOT / "tools/quality.py", "--text", "t", "--calibration", "c", "--octet", octet, "--model", "m", "--jobs", "3",
                               "--work", tmp_path / "work", "--output", tmp_path / "out.json", "--rows", rows], capture_output=True, text=True,
                              env=os.environ | {"CALLS": str(tmp_path / "calls")} | environment)
        assert done.returncode == code, done.stderr
        return done.stderr

    run.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    run.out = lambda: json.loads((tmp_path / "out.json").read_text())
    run.work = tmp_path / "work"
    return run


def test_rows_are_made_once_and_collected(quality):
    quality("^(plain|planted)/(int8|fp8|kv-int8-static)$")
    calls = quality.calls()
    assert sum(c.startswith("plant ") for c in calls) == 1 and sum(c.startswith("quantize") for c in calls) == 3
    assert sum("--kv-dtype int8" in c for c in calls if c.startswith("eval")) == 1  # the cache that was calibrated is the one that is used
    assert not (quality.work / "plain" / "int8").exists()  # checkpoints are removed with their row
    rows = {(r["variant"], r["scheme"]): r for r in quality.out()["rows"]}
    assert set(rows) == {(v, s) for v in ("plain", "planted") for s in ("baseline", "int8", "fp8")} | {("plain", "kv-int8-static")}
    assert rows["planted", "int8"]["over_16_bit"] == round(27 / 26 - 1, 5) and rows["plain", "int8"]["calibrated"] == "120 inputs"
    quality("^(plain|planted)/(int8|fp8|kv-int8-static)$")
    assert quality.calls() == calls


def test_a_row_that_fails_is_named_and_the_others_are_kept(quality):
    error = quality("^plain/(fp8|w8a16)$", code=1, FAIL="w8a16")
    assert "w8a16" in error and "plain/w8a16.log" in error
    assert (quality.work / "plain" / "fp8.json").exists()
    quality("^plain/(fp8|w8a16)$")
    assert len(quality.out()["rows"]) == 3


def test_nothing_found_is_an_empty_table(quality):
    quality("^$")
    assert quality.out()["rows"] == []
