"""tools/check_arch.py finds each kind of violation, at its line, in trees made for it; and nothing in a tree that keeps the rules."""
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "tools/check_arch.py"
HEADER = "// What it is for.\n#pragma once\n"


def check(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()[:-1]


def test_rules_kept(tmp_path):
    code, lines = check(tmp_path, {
        "src/base/status.h": HEADER,
        "src/backend/ops.h": HEADER + '#include "base/status.h"\n',
        "src/backend/cpu/cpu_ops.h": HEADER + '#include "backend/ops.h"\n',
        "src/model/model.h": HEADER + '#include "backend/ops.h"\n',
        "src/model/model_test.cc": '#include "backend/cpu/cpu_ops.h"\n#include "model/model.h"\n',
        "src/cli/main.cc": '#include "backend/cpu/cpu_ops.h"\n',
    })
    assert (code, lines) == (0, [])


@pytest.mark.parametrize("files, problem", [
    ({"src/base/a.cc": '#include "tensor/t.h"\n', "src/tensor/t.h": HEADER}, 'src/base/a.cc:1: base must not include "tensor/t.h"'),
    ({"src/model/m.cc": '\n#include "backend/cpu/isa.h"\n', "src/backend/cpu/isa.h": HEADER},
     'src/model/m.cc:2: model must not include "backend/cpu/isa.h"'),
    ({"src/model/m.cc": '#include "backend/quant_rows.h"\n', "src/backend/quant_rows.h": HEADER},
     'src/model/m.cc:1: model must not include "backend/quant_rows.h"'),
    ({"src/backend/ops.cc": '#include "backend/cpu/isa.h"\n', "src/backend/cpu/isa.h": HEADER},
     'src/backend/ops.cc:1: backend must not include "backend/cpu/isa.h"'),
    ({"src/backend/reference/r.cc": '#include "backend/cpu/isa.h"\n', "src/backend/cpu/isa.h": HEADER},
     'src/backend/reference/r.cc:1: backend/reference must not include "backend/cpu/isa.h"'),
    ({"src/engine/e_test.cc": '#include "server/s.h"\n', "src/server/s.h": HEADER}, 'src/engine/e_test.cc:1: engine must not include "server/s.h"'),
    ({"src/base/a.cc": '#include "a.h"\n', "src/base/a.h": HEADER}, 'src/base/a.cc:1: "a.h" is no file below src/'),
    ({"src/base/a.h": "// What it is for.\n"}, "src/base/a.h:1: a header needs #pragma once"),
    ({"src/base/a.h": "#pragma once\n"}, "src/base/a.h:1: a header begins with a comment"),
    ({"src/base/a.cc": "\n// TO" + "DO: later\n"}, "src/base/a.cc:2: TO" + "DO: finish it"),
    ({"src/base/a.cc": "\n" * 501}, "src/base/a.cc:501: 501 lines"),
    ({"src/other/a.cc": "\n"}, "src/other/a.cc:1: no rule for this folder"),
    ({"src/base/a.h": HEADER + '#include "base/b.h"\n', "src/base/b.h": HEADER + '#include "base/a.h"\n'},
     "src/base/a.h:3: include cycle: base/a.h -> base/b.h -> base/a.h"),
])
def test_violation_is_named(tmp_path, files, problem):
    code, lines = check(tmp_path, files)
    assert code == 1
    assert len(lines) == 1 and lines[0].startswith(problem)


def test_long_file_is_noted(tmp_path):
    code, lines = check(tmp_path, {"src/base/a.cc": "\n" * 301})
    assert (code, lines) == (0, ["note: src/base/a.cc: 301 lines, the aim is 300"])
