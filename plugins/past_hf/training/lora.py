"""The LoRA that is trained: on which layers, of what rank and scale."""

from __future__ import annotations

import re
from typing import Any

from pastcli import tested
from pastcli.errors import PastError, UsageError

from .. import adaptable
from ..composite import decoder_name, is_tied
from ..compute import plain


def lora_config(config: Any, model: Any) -> Any:
    """PEFT's configuration for `--method lora` (None for full training).

    All linear layers but the output layer unless `--lora-target` names others. Raises `UsageError` for a pattern that is
    none, a target the model does not have, and embeddings that are tied: PEFT would change their input side alone.
    """
    if config.method != "lora":
        return None
    from peft import LoraConfig

    targets = list(config.lora_target)
    if targets:
        _check_targets(targets, plain(model))
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=config.rslora,
        rank_pattern=patterns(config.rank_pattern, "--rank-pattern", int),
        alpha_pattern=patterns(config.alpha_pattern, "--alpha-pattern", float),
        target_modules=_in_language(targets or _linear(plain(model)), plain(model)),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )


def targeted(lora: Any, model: Any) -> set[str]:
    """The modules that PEFT's configuration (None for full training) names, as PEFT documents it: a regular expression of whole names, or
    the ends of names."""
    wanted = lora.target_modules if lora is not None else []
    names = [name for name, _ in model.named_modules()]
    if isinstance(wanted, str):
        return {name for name in names if re.fullmatch(wanted, name)}
    return {name for name in names if any(name == end or name.endswith(f".{end}") for end in wanted)}


def refuse_others(model: Any, wanted: set[str]) -> None:
    """Raise `PastError` if PEFT has put factors elsewhere than into the modules `wanted`: under the names of some it looks for experts,
    which it adapts in a form that no skill can be taken from (`adaptable`), and which names these are changes with its version."""
    from peft.tuners.lora import LoraLayer

    inside = plain(model)
    made = (
        {name for name, module in inside.named_modules() if isinstance(module, LoraLayer)}
        if inside is not model
        else set()
    )
    if other := sorted(made ^ wanted):
        raise PastError(
            f"PEFT adapts other layers than were named: {other[0]} {'is' if other[0] in made else 'is not'} among them",
            tested.suspects() or tested.install(["peft", "transformers"]),
        )


def _in_language(targets: Any, model: Any) -> Any:
    """The targets, but of a model with towers those in its language model alone, as a regular expression: text does not train the
    others, and vLLM takes no adapter that has them."""
    name = decoder_name(model)
    if not name:
        return targets
    ends = [target.removeprefix(f"{name}.") for target in targets]
    return rf"{re.escape(name)}\.(.*\.)?({'|'.join(map(re.escape, ends))})"


def _linear(model: Any) -> Any:
    """All linear layers but the output layer and those that no skill could be extracted of (`adaptable`): of experts that lie together
    in bare parameters, of layers that PEFT adapts in a form of its own or not at all."""
    layers, out = adaptable.linear(model), adaptable.obstacles(model, adaptable.source_of(model))
    targets = adaptable.as_targets(model, layers.keys() - out.keys())
    if not targets:
        name, why = next(iter(out.items()), ("", "there is none"))
        raise UsageError(f"no linear layer of this model can carry a LoRA ({name}: {why})", "train with --method full")
    return targets


def patterns(words: list[str], option: str, kind: type) -> dict[str, Any]:
    """PATTERN=NUMBER words as PEFT takes them: a regular expression that the end of a module's name matches."""
    found = {}
    for word in words:
        pattern, _, number = word.rpartition("=")
        try:
            found[pattern] = kind(number)
        except ValueError:
            found[pattern] = 0
        if not pattern or not found[pattern] > 0:
            raise UsageError(
                f"{option} {word!r}: write PATTERN=NUMBER, the number above 0", f"for example {option} q_proj=8"
            )
    return found


def _check_targets(targets: list[str], model: Any) -> None:
    names = [name for name, _ in model.named_modules()]
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    ends = {id(module): name for name, module in model.named_modules()}
    out = adaptable.obstacles(model, adaptable.source_of(model))
    for target in targets:
        hit = [name for name in names if name == target or name.endswith(f".{target}")]
        if not hit:
            known = sorted(
                {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if type(m).__name__ == "Linear"}
            )
            raise UsageError(
                f"--lora-target {target}: the model has no such layer", f"its linear layers: {', '.join(known)}"
            )
        if why := next((f"{name}: {out[name]}" for name in hit if name in out), ""):
            raise UsageError(
                f"--lora-target {target}: no skill could be extracted of the LoRA ({why})",
                "leave it out, name whole layers of others, or train with --method full",
            )
        inside = decoder_name(model)
        if inside and not any(name.startswith(f"{inside}.") or name == ends[id(head)] for name in hit):
            raise UsageError(
                f"--lora-target {target}: {hit[0]} lies beside the language model {inside}, where no text comes",
                f"name layers of {inside}",
            )
        if ends[id(head)] in hit:
            raise UsageError(
                f"--lora-target {target}: the output layer cannot carry a LoRA here",
                "TRL scores answers with its weight directly, so it would never be trained",
            )
        if ends[id(embedding)] in hit and is_tied(model):
            raise UsageError(
                f"--lora-target {target}: the embeddings of this model are tied to its output layer",
                "PEFT would change the input side alone; leave them out, or train with --method full",
            )
