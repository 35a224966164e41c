#!/bin/sh
# Parametric Skill Transfer from documents to agent, as one script: every line below is a command you could type.
# A second run continues where a first one was stopped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
workspace=${1:-"$here/../../demo-workspace"}
mkdir -p "$workspace" && cd "$workspace"
cp "$here/past.toml" past.toml
began=$(date +%s)
resume=$([ -d runs ] && echo --resume || true)

run() {
    printf '\n\033[1m$ past %s\033[0m\n' "$*" >&2
    past "$@" $resume
}

# 1. Source domain: facts by SFT, the skill of using them by RL, the skill lifted out as a vector.
run ingest "$here/docs/source" -o source.jsonl
run sft source.jsonl --base smol --name sft-source
run rl --sft sft-source --questions "$here/source_questions.jsonl" --name rl-source
run extract --sft sft-source --rl rl-source -o skill.safetensors

# 2. Target domain: facts by SFT alone. No question about it is ever trained on.
run ingest "$here/docs/target" -o target.jsonl
run sft target.jsonl --base smol --name sft-target

# 3. The injection, and its controls: the skill without the knowledge, a random vector of the same norm.
run inject --vector skill.safetensors --target smol -o models/base+skill
run inject --vector skill.safetensors --target sft-target --control random -o models/sft+random
run inject --vector skill.safetensors --target sft-target --scale 1.0 --name injected

# 4. The same model on llama.cpp, as an agent with tools.
run agent --tools "$here/toolbench.json" --model injected --limit 1 --decoding names

# 5. Is the skill orthogonal to the knowledge, and what does it do on questions about the target documents?
run probe-orthogonality --base smol --sft sft-source --rl rl-source --target-sft sft-target
run eval --questions "$here/target_questions.jsonl" --reference SFT --retained smol --plot transfer.png \
    --model base=smol --model base+skill=models/base+skill \
    --model SFT=sft-target --model SFT+skill=injected --model SFT+random=models/sft+random

printf '\ndemo finished in %d s; everything it made is in %s (the plot: transfer.png)\n' $(($(date +%s) - began)) "$(pwd)" >&2
