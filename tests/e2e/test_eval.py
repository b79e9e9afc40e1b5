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
    (["mmlu", "--data", "no/mmlu"], 1, "dev/<subject>_dev.csv"),
    (["arc", "--data", "no/arc.jsonl"], 1, "answerKey"),
    (["piqa", "--data", "no/piqa.jsonl"], 1, "sol1"),
    (["gsm8k", "--data", "no/gsm8k.jsonl"], 1, "#### number"),
    (["arc", "--limit", "-1"], 2, "--limit"),
    (["arc"], 1, "river.txt: line 1"),
    (["gsm8k", "--max-tokens", "0"], 2, "--max-tokens"),
    (["compare", "--schemes", "int9"], 2, "int9"),
    (["compare", "--scheme", "fp8"], 2, "--schemes"),
    (["compare", "--limit", "0"], 2, "--limit: '0': expected an integer from 1 on"),
    (["compare", "--mmlu", "no/mmlu"], 1, "--mmlu gives another path"),
    (["compare", "--output", "no/such/folder/c.json"], 2, "no/such/folder/c.json: cannot create"),
    (["compare", "--report", "no/such/folder/c.html"], 2, "no/such/folder/c.html: cannot create"),
])
def test_what_makes_no_sense(octet, model, text, args, code, expected):
    data = [] if "--data" in args else ["--data", text]
    assert expected in error_line(octet("eval", args[0], model, *args[1:], *data, code=code))


def test_text_that_is_not_utf8(octet, model, tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes("Größe".encode("latin-1"))
    assert "not UTF-8" in error_line(octet("eval", "perplexity", model, "--data", path, code=1))


@pytest.fixture(scope="session")
def arc(tmp_path_factory):
    """Capitals, which even a small model knows: ARC's format."""
    capitals = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Germany": "Berlin", "Egypt": "Cairo", "Russia": "Moscow"}
    names = list(capitals.values())
    rows = []
    for i, (country, capital) in enumerate(capitals.items()):
        choices = [capital] + [n for n in names if n != capital][:3]
        choices = choices[i % 4:] + choices[:i % 4]
        rows.append({"question": f"What is the capital of {country}?", "choices": {"text": choices, "label": list("ABCD")},
                     "answerKey": "ABCD"[choices.index(capital)]})
    path = tmp_path_factory.mktemp("arc") / "capitals.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_questions_with_choices_beside_a_baseline(octet, model, arc):
    done = octet("eval", "arc", model, "--scheme", "int8-minmax", "--baseline", model, "--data", arc, "--json")
    result = json.loads(done.stdout)
    assert result["questions"] == 6 and result["acc"] >= 5 / 6 and result["baseline_acc"] >= 5 / 6
    assert result["paired"]["mcnemar_p_value"] == 1


def test_mmlu(octet, model, tmp_path):
    for part, rows in (("dev", 5), ("test", 3)):
        (tmp_path / part).mkdir()
        for subject in ("cities", "rivers"):
            lines = [f'"What, in {subject}, is {i}?",{i},{i + 1},{i + 2},{i + 3},A' for i in range(rows)]
            (tmp_path / part / f"{subject}_{part}.csv").write_text("\n".join(lines))
    result = json.loads(octet("eval", "mmlu", model, "--data", tmp_path, "--json").stdout)
    assert [s["subject"] for s in result["subjects"]] == ["cities", "rivers"]
    assert result["questions"] == 6 and result["acc"] == result["macro"] == 1  # all examples have the answer A


def test_gsm8k(octet, model, tmp_path):
    path = tmp_path / "gsm8k.jsonl"
    path.write_text(json.dumps({"question": "Ann has 2 apples and buys 3 more. How many apples has Ann?", "answer": "2 + 3 = 5\n#### 5"}))
    result = json.loads(octet("eval", "gsm8k", model, "--data", path, "--shots", path, "--max-tokens", "24", "--json").stdout)
    assert result["shots"] == 1 and result["exact_match_strict"] == 1  # the example gives it away


def test_compare(octet, model, quantized, text, arc, tmp_path):
    report = tmp_path / "schemes.html"
    output = tmp_path / "schemes.json"
    made = tmp_path / "made"
    done = octet("eval", "compare", model, "--schemes", f"int8-minmax,int8,{quantized}", "--data", text, *WINDOWS, "--limit", "2", "--arc", arc,
                 "--calibration", text, "--samples", "8", "--sequence-length", "64", "--checkpoints", made, "--report", report, "--output", output)
    assert "smollm2-int8" in done.stdout and (made / "int8" / "calibration.json").exists()
    result = json.loads(output.read_text())
    assert result["kind"] == "comparison" and result["version"]
    assert [(row["scheme"], row["runs_as"]) for row in result["rows"]] == [
        ("baseline", "bf16"), ("int8-minmax", "int8-minmax"), ("int8", "int8"), ("smollm2-int8", "int8-minmax")]
    for row in result["rows"]:
        assert row["perplexity"] > 1 and row["weight_bytes"] > 0 and row["tokens_per_second"] > 0 and row["arc"]["acc"] > 0.5
    other = octet("eval", "compare", model, "--schemes", "int8", "--data", text, *WINDOWS, "--limit", "2", "--calibration", text, "--samples", "9",
                  "--sequence-length", "64", "--checkpoints", made, code=2)
    assert "made with another samples (8, not 9)" in error_line(other)
    page = report.read_text()
    assert "Plotly.newPlot" in page and "octet eval compare" in page and 'src="' not in page.split("</head>")[1]
