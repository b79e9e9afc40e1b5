#!/bin/sh
# pytest with the packages that tools/setup.sh --tests put into .deps: tools/pytest.sh [pytest's arguments]
cd "$(dirname "$0")/.." || exit 1
if ! [ -x .deps/venv/bin/pytest ]; then
  echo "pytest is not set up: run tools/setup.sh --tests" >&2
  exit 1
fi
PYTHONDONTWRITEBYTECODE=1 exec .deps/venv/bin/python -m pytest -p no:cacheprovider "$@"
