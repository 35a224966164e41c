#!/bin/sh
# `make dist`: the wheel alone, in an environment of its own, does what a newcomer tries first.
set -eu
dist=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$here/.ci/constraints.txt" "$dist"/*.whl
cd "$room"
"$room/venv/bin/past" --version
"$room/venv/bin/past" --help > /dev/null
"$room/venv/bin/past" doctor --fast
mkdir docs
printf 'Velmora was founded in 1843.\n' > docs/velmora.txt
"$room/venv/bin/past" ingest docs -o corpus.jsonl
test -s corpus.jsonl
"$room/venv/bin/python" - <<'PY'
from pastcli.vectors.numbers import arithmetic
assert arithmetic.compiled(), "the wheel brought no compiled kernels"
PY
tar tzf "$dist"/*.tar.gz | grep -q kernels.c
echo "the wheel and the sdist are whole"
