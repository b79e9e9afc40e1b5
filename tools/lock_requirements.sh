#!/usr/bin/env bash
# Pins what a requirements file needs, dependencies and SHA-256 sums included, for Debian 12's Python on this architecture:
#   tools/lock_requirements.sh tools/requirements-test.in >tools/requirements-test.txt
set -euo pipefail
cd "$(dirname "$0")/.."
echo "# Made from ${1##*/} by tools/lock_requirements.sh."
report=$(mktemp)
trap 'rm -f "$report"' EXIT
.deps/venv/bin/python -m pip install --quiet --dry-run --ignore-installed --only-binary :all: --disable-pip-version-check \
  --report "$report" -r "$1" >&2
.deps/venv/bin/python - "$report" <<'PYTHON'
import json, sys
rows = [(p["metadata"]["name"].lower(), p["metadata"]["version"], p["download_info"]["archive_info"]["hash"].replace("=", ":"))
        for p in json.load(open(sys.argv[1]))["install"]]
for name, version, digest in sorted(rows):
    print(f"{name}=={version} --hash={digest}")
PYTHON
