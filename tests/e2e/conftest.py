"""The program and the real model that these tests run; both are made by `make test` before."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OCTET = os.environ.get("OCTET_BIN", str(ROOT / "build" / "octet"))
MODEL = ROOT / "models" / "smollm2-135m-instruct.gguf"


@pytest.fixture(scope="session")
def model():
    if not MODEL.exists():
        pytest.skip(f"{MODEL.relative_to(ROOT)} is not there: run `make model`")
    return str(MODEL)


@pytest.fixture(scope="session")
def octet():
    def run(*args, code=0, stdin=None, **environment):
        done = subprocess.run([OCTET, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=300,
                              env=os.environ | environment)
        assert done.returncode == code, f"exit code {done.returncode}, expected {code}: {done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def quantized(octet, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized") / "smollm2-int8"
    octet("quantize", model, "--scheme", "int8-minmax", "--quantize-head", "-o", folder)
    return str(folder)
