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
# what lies in the package beside its code: arms, templates, prompts, questions, the page
"$room/venv/bin/past" study arms > arms.toml
test -s arms.toml
"$room/venv/bin/past" generate --kind cloze --json > made.json
"$room/venv/bin/past" generate --print-prompts prompts
printf '{"question": "When was Velmora founded?", "answer": "1843"}\n' > q.jsonl
printf '["dunno"]' > model.json
"$room/venv/bin/past" eval --questions q.jsonl --backend echo --model model.json \
    --baseline retrieval --corpus docs --baseline-model model.json
"$room/venv/bin/python" - <<'PY'
from pastcli.vectors.numbers import arithmetic
from importlib.resources import files
assert arithmetic.compiled(), "the wheel brought no compiled kernels"
for package, name in (("study", "init_whole.toml"), ("study", "init_with_skill.toml"), ("tools", "server/page.html"), ("evals", "neutral.txt")):
    assert (files("pastcli") / package / name).is_file(), f"the wheel has no {package}/{name}"
PY
tar tzf "$dist"/*.tar.gz | grep -q kernels.c
echo "the wheel and the sdist are whole"
