"""`octet eval` as a user types it: with the real small model on a short text, and with data that is not what it should be."""
import json
import signal
import subprocess
import time

import pytest
from conftest import OCTET

TEXT = " ".join(f"In the year {1900 + i} the river rose by {i * 7 % 13} feet, and the people of the valley moved up the hill." for i in range(60))
WINDOWS = ["--window", "128", "--max-batch", "64"]


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("eval") / "river.txt"
    path.write_text(TEXT)
    return str(path)


def error_line(done):
    lines = [line for line in done.stderr.splitlines() if "octet: error:" in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_perplexity_beside_a_baseline(octet, model, text):
    alone = json.loads(octet("eval", "perplexity", model, "--data", text, *WINDOWS, "--limit", "3", "--json").stdout)
    pair = json.loads(octet("eval", "perplexity", model, "--scheme", "int8-minmax", "--baseline", model, "--data", text, *WINDOWS,
                            "--limit", "3", "--json").stdout)
    assert alone["tokens"] == 3 * 127 and 1 < alone["perplexity"] < 20
    assert pair["baseline_perplexity"] == pytest.approx(alone["perplexity"], rel=1e-6)
    assert pair["ratio"] == pytest.approx(pair["perplexity"] / pair["baseline_perplexity"], rel=1e-9)
    assert abs(pair["ratio"] - 1) < 0.1 and pair["runs_as"] == "int8-minmax"


def test_divergence(octet, model, text):
    result = json.loads(octet("eval", "divergence", model, "--scheme", "int8-minmax", "--data", text, *WINDOWS, "--limit", "2",
                              "--json").stdout)
    assert 0 < result["kl"] < 0.2 and 0.8 < result["top1"] < 1
    values = [row["kl"] for row in result["kl_percentiles"]]
    assert values == sorted(values)


def test_an_interrupted_run_goes_on_to_the_same_numbers(octet, model, text, tmp_path):
    command = ["eval", "perplexity", model, "--data", text, *WINDOWS]
    whole = json.loads(octet(*command, "--json").stdout)
    output = tmp_path / "out.json"
    state = tmp_path / "out.json.state"
    process = subprocess.Popen([OCTET, *command, "--output", output], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (state.exists() and state.read_text().count("\n") >= 3):
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "out.json.state" in stderr and not output.exists()
    other = octet(*command, "--limit", "5", "--output", output, code=2)
    assert "limit" in error_line(other)
    octet(*command, "--output", output)
    assert json.loads(output.read_text())["nll"] == whole["nll"]
    assert not state.exists()


@pytest.mark.parametrize("args, code, expected", [
    (["perplexity", "--data", "no/such/wiki.test.raw"], 1, "no/such/wiki.test.raw"),
    (["perplexity", "--window", "1"], 2, "--window"),
    (["perplexity", "--window", "4096"], 2, "fewer than one window"),
    (["perplexity", "--stride", "2000"], 2, "--stride"),
    (["perplexity", "--limit", "-1"], 2, "--limit"),
    (["divergence"], 2, "--baseline"),
])
def test_what_makes_no_sense(octet, model, text, args, code, expected):
    data = [] if "--data" in args else ["--data", text]
    assert expected in error_line(octet("eval", args[0], model, *args[1:], *data, code=code))
