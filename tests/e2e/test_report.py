"""`octet report` over small results, as the other commands write them; and over results that are none."""
import json

import pytest


def row(scheme, batch, speed, rate=0):
    return {"cell": f"{scheme} {batch}", "model": "smollm2-135m-instruct", "scheme": scheme, "quantized_head": False, "kv_dtype": "bf16",
            "device": "a CPU", "input_len": 2048, "output_len": 128, "max_batch": batch, "rate": rate, "repeat": 0, "requests": 2 * batch,
            "output_tok_s": speed, "ttft_ms": {"p50": 10.0, "p99": 20.0}, "tpot_ms": {"p50": 2.0}}


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "sweep.jsonl"
    path.write_text("".join(json.dumps(row(scheme, batch, speed * batch, rate)) + "\n"
                            for scheme, speed in [("bf16", 50), ("int8-minmax", 90)] for batch in (1, 4) for rate in (0, 4)))
    return path


def test_one_page_with_its_pictures_and_tables(octet, sweep, tmp_path):
    done = octet("report", sweep, "-o", tmp_path / "report.html", "--svg", tmp_path / "svg", "--csv", tmp_path / "csv")
    assert "report.html: 3 pictures" in done.stdout
    assert "left out: Quality by scheme; it is made by: octet eval compare" in done.stderr
    page = (tmp_path / "report.html").read_text()
    assert page.count("Plotly.newPlot(") >= 3 and "octet profile MODEL" in page and 'src="' not in page.split("</head>")[1]
    assert sorted(p.name for p in (tmp_path / "svg").iterdir()) == ["first-token-rate-4-2048-128.svg", "gain-2048-128.svg", "throughput-2048-128.svg"]
    assert (tmp_path / "csv" / "throughput-2048-128.csv").read_text().splitlines()[4].startswith("int8-minmax,octet,4,360.0,,1.80x")


def test_a_page_without_a_script(octet, sweep, tmp_path):
    octet("report", sweep, "-o", tmp_path / "report.html", "--svg", tmp_path / "svg", "--static")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page and page.count("<svg ") == 3 and len(page) < 100_000
    assert all(picture.read_text() in page for picture in (tmp_path / "svg").iterdir())


def test_a_folder_and_limits_from_a_profile_of_the_device(octet, sweep, tmp_path):
    profile = {"model": "smollm2-135m-instruct", "device": "a CPU",
               "ceilings": {"memory_bytes_s": 3e10, "half_flop_s": 4e11, "int8_flop_s": 9e11, "fp8_flop_s": 0},
               "steps": [{"scheme": "bf16", "kv_dtype": "bf16", "phase": "decode", "batch": 1, "context": 128, "tokens": 1, "step_us": 9.0,
                          "parts": [{"part": "linear qkv", "us": 5.0}, {"part": "attention", "us": 4.0}]}]}
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    octet("report", tmp_path, "-o", tmp_path / "report.html", "--csv", tmp_path / "csv")
    lines = (tmp_path / "csv" / "throughput-2048-128.csv").read_bytes().decode().split("\r\n")
    limits = [float(line.split(",")[7]) for line in lines[1:5]]
    assert 30 < limits[0] < 60 and limits[1] > limits[0] and limits[2] > limits[0]
    assert (tmp_path / "csv" / "decode-steps.csv").exists()


@pytest.mark.parametrize("name, text, code, expected", [
    ("cut.jsonl", '{"cell": ', 1, "cut.jsonl:1: broken line"),
    ("old.jsonl", '{"cell": "x", "output_tok_s": 3}', 1, "old.jsonl:1: model is missing"),
    ("other.json", '{"layers": 3}', 2, "other.json is no result that a report shows"),
    ("latency.json", '{"prefill_tok_s": 3}', 2, "nothing to show"),
])
def test_a_result_that_is_none(octet, tmp_path, name, text, code, expected):
    (tmp_path / name).write_text(text)
    done = octet("report", tmp_path / name, "-o", tmp_path / "r.html", code=code)
    errors = [line for line in done.stderr.splitlines() if "octet: error:" in line]
    assert len(errors) == 1 and expected in errors[0]
    assert not (tmp_path / "r.html").exists()


def test_nothing_there(octet, tmp_path):
    assert "no-such.json" in octet("report", "no-such.json", "-o", tmp_path / "r.html", code=1).stderr
    assert "no file that ends in .json" in octet("report", tmp_path, "-o", tmp_path / "r.html", code=1).stderr
    assert "llama-9" in octet("report", tmp_path, "-o", tmp_path / "r.html", "--shape", "llama-9", code=1).stderr
    assert "--output is required" in octet("report", tmp_path, code=2).stderr
