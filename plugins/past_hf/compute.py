"""Arithmetic shared by both trainers: 16-bit working weights over fp32 masters, log-probabilities where they count."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from pastcli.errors import UsageError

ROWS = 128
"""Positions scored at a time: 128 x 49k fp32 logits are 25 MB, which stays near the cache."""

PART = 8192
"""Words whose gradient is formed at a time: for 49k at once an Intel Xeon with AMX took half as long again."""


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(precision: str) -> torch.dtype:
    """`auto` is bfloat16 where the processor multiplies it natively (AVX512-BF16, AMX, recent GPUs), else float32."""
    if precision == "auto":
        return torch.bfloat16 if _native_bf16() else torch.float32
    if precision not in ("bf16", "fp32"):
        raise UsageError(f"precision must be auto, bf16 or fp32, not {precision!r}")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _native_bf16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return bool(known.get("avx512_bf16") or known.get("amx_tile"))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of earlier versions of torch
    return any(getattr(torch.cpu, probe)() for probe in probes)


def plain(model: Any) -> PreTrainedModel:
    """The transformers model itself, out of its PEFT wrapper (adapters stay active inside it)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def whole_pass(model: Any) -> dict[str, Any]:
    """What a model is told that reads whole rows: to keep nothing of them, and what `unrouted` says."""
    names = inspect.signature(plain(model).forward).parameters
    told = {"use_cache": False} if "use_cache" in names or any(n.kind is n.VAR_KEYWORD for n in names.values()) else {}
    return told | unrouted(model)


def unrouted(model: Any) -> dict[str, Any]:
    """What a model is told so that it makes no loss over its experts, which is for training alone."""
    routed = getattr(plain(model).config.get_text_config(), "output_router_logits", False)
    return {"output_router_logits": False} if routed else {}


class WorkingWeights:
    """Within the block the model computes in `dtype`; its fp32 master weights come back untouched after it.

    Gradients of every `backward` call are added up in fp32, each as soon as it is there, and end up in `.grad` of the masters.
    Casting once a step is what autocast would do once a forward pass and, for frozen weights, once a layer call. Packed
    weights (4 bits in bytes) stay as they are: their layers unpack them into the type of what they are given.

    Made to be entered once a step: the copies and the sums stay in memory between the steps, since getting fresh memory from
    the kernel costs as much as the casts, and frozen weights are cast only once.
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype):
        self.parameters = [one for one in model.parameters() if one.is_floating_point()]
        self.dtype = dtype
        self._masters: list[torch.Tensor] = []
        self._copies: list[torch.Tensor | None] = [None] * len(self.parameters)
        self._sums: dict[int, torch.Tensor] = {}
        self._added: set[int] = set()
        self._hooks: list[Any] = []

    def __enter__(self) -> WorkingWeights:
        self._masters = [parameter.data for parameter in self.parameters]
        self._added.clear()
        for index, parameter in enumerate(self.parameters):
            if parameter.dtype == self.dtype:
                continue
            parameter.data = self._copy(index, parameter)
            if parameter.requires_grad:
                add = functools.partial(self._add, index)
                self._hooks.append(parameter.register_post_accumulate_grad_hook(add))
        return self

    def _copy(self, index: int, parameter: torch.nn.Parameter) -> torch.Tensor:
        copy = self._copies[index]
        if copy is None:
            copy = self._copies[index] = parameter.data.to(self.dtype)
        elif parameter.requires_grad:
            copy.copy_(parameter.data)
        return copy

    def _add(self, index: int, parameter: torch.Tensor) -> None:
        assert parameter.grad is not None, "called when a gradient is there"
        if index in self._added:
            self._sums[index] += parameter.grad
        elif index in self._sums:
            self._sums[index].copy_(parameter.grad)
        else:
            self._sums[index] = parameter.grad.float()
        self._added.add(index)
        parameter.grad = None

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss` to what earlier calls gave."""
        loss.backward()

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for index, (parameter, master) in enumerate(zip(self.parameters, self._masters, strict=True)):
            if self._copies[index] is not None:
                parameter.data = master
                parameter.grad = self._sums[index] if index in self._added else None


class _TokenLogProbs(torch.autograd.Function):
    """log softmax(hidden @ weight.T / temperature) at the targets, and the entropy (not differentiable; empty if not asked for).

    The fp32 probabilities live for `ROWS` rows only; kept for the backward pass is - d logp / d logits in the working type.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, temperature, entropies_too):
        count = len(targets)
        logps = hidden.new_empty(count, dtype=torch.float32)
        entropies = hidden.new_empty(count if entropies_too else 0, dtype=torch.float32)
        slopes = hidden.new_empty(count, weight.shape[0])
        for start in range(0, count, ROWS):
            part = slice(start, start + ROWS)
            target = targets[part, None]
            logits = hidden[part] @ weight.T
            if temperature != 1.0:
                logits = logits.float().div_(temperature)
            probabilities = logits.softmax(1, dtype=torch.float32)
            # The largest probability is at least 1 / V, so its logarithm gives the normaliser to float32's last bits.
            largest, where = logits.max(1, keepdim=True)
            log_total = largest.float() - probabilities.gather(1, where).log_()
            logps[part] = (logits.gather(1, target).float() - log_total)[:, 0]
            if entropies_too:
                entropies[part] = log_total[:, 0] - torch.linalg.vecdot(probabilities, logits.float())
            # The target's 1 - p is formed in fp32: it is what is left to learn when p is near 1.
            slopes[part] = probabilities.scatter_add_(1, target, torch.full_like(log_total, -1.0))
        ctx.save_for_backward(hidden, weight, slopes)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    def backward(ctx, gradient, _):
        hidden, weight, slopes = ctx.saved_tensors
        each = (gradient / -ctx.temperature)[:, None]  # scales a row of `hidden`, which is shorter than one of `slopes`
        of_weight = _in_parts(slopes, (hidden * each).to(hidden.dtype)) if ctx.needs_input_grad[1] else None
        return ((slopes @ weight) * each).to(hidden.dtype), of_weight, None, None, None


def _in_parts(slopes: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """slopes.T @ rows, (V, H), from `PART` columns of `slopes` (N, V) at a time."""
    made = rows.new_empty(slopes.shape[1], rows.shape[1])
    for columns, part in zip(slopes.split(PART, 1), made.split(PART), strict=True):
        torch.mm(columns.T, rows, out=part)
    return made


def _plain_head(model: Any, ids: torch.Tensor) -> bool:
    """Whether a model's logits are nothing but its last hidden states times the output layer, tried once on a few tokens.

    Some models scale them, cap them or project the states first, under ever new names in their configurations; logits formed
    without that would train another model than the one that answers afterwards. A trial does not show weights that make no
    difference yet, such as a scale of ones (Dory): a model that has any beside its inner part and its output layer is none of these.
    """
    known = getattr(model, "_past_plain_head", None)
    if known is None:
        training = model.training
        model.eval()  # dropout would tell two passes apart
        with torch.no_grad():
            known = _same_logits(model, ids)
        model.train(training)
        model._past_plain_head = known
    return known


def _same_logits(model: Any, ids: torch.Tensor) -> bool:
    head = model.get_output_embeddings()
    if (
        not isinstance(head, torch.nn.Linear)
        or type(head).forward is not torch.nn.Linear.forward
        or head.bias is not None
    ):
        return False
    known = {id(one) for part in (model.base_model, head) for one in part.parameters()}
    if any(id(one) not in known for one in model.parameters()):
        return False
    hidden = getattr(model.base_model(input_ids=ids, **whole_pass(model)), "last_hidden_state", None)
    if hidden is None or hidden.dtype != head.weight.dtype or hidden.shape[-1] != head.weight.shape[-1]:
        return False
    return torch.equal(head(hidden), model(input_ids=ids, **whole_pass(model)).logits)


def token_logprobs(
    model: Any,
    input_ids: torch.Tensor,
    wanted: torch.Tensor,
    temperature: float = 1.0,
    previous: torch.Tensor | None = None,
    entropies_too: bool = True,
    **reading: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy (nats; or nothing of it) of the tokens where `wanted`, given all tokens before them.

    `input_ids` (B, L) is padded on the right, so causal attention needs no mask; `wanted` (B, L) is boolean and
    False in column 0. Both results are (N,) fp32 in row-major order of `wanted`. Rows that hold several sequences come
    with the model's `attention_mask` and `position_ids` and with the column that `previous` (B, L) predicts each token from.
    """
    model = plain(model)
    rows, columns = wanted.nonzero(as_tuple=True)
    targets = input_ids[rows, columns]
    before = columns - 1 if previous is None else previous[rows, columns]
    if _plain_head(model, input_ids[:1, :4]):
        head = model.get_output_embeddings()
        hidden = model.base_model(input_ids=input_ids, use_cache=False, **reading).last_hidden_state
        return _TokenLogProbs.apply(hidden[rows, before], head.weight, targets, temperature, entropies_too)
    logits = model(input_ids=input_ids, **whole_pass(model), **reading).logits[rows, before].float() / temperature
    log_probabilities = logits.log_softmax(1)
    logps = log_probabilities.gather(1, targets[:, None])[:, 0]
    if not entropies_too:
        return logps, logps.new_empty(0)
    return logps, -(log_probabilities.exp() * log_probabilities).sum(1).detach()


def pad_right(rows: list[list[int]], value: int, to: torch.device | None = None) -> torch.Tensor:
    """Rows of different lengths as one (B, L) tensor."""
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows], device=to)


def token_batches(
    lengths: list[int],
    budget: int,
    generator: torch.Generator | None = None,
    beside: Callable[[int], int] = lambda length: 0,
) -> list[list[int]]:
    """Indices grouped so that rows x longest row <= `budget`, neighbours of like length together.

    With a generator, ties and the order of the batches are shuffled; without one the order is by length.
    A row longer than the budget is a batch of its own; rows of which `beside` differs are in none together (see `habits.beside`).
    """
    order = range(len(lengths)) if generator is None else torch.randperm(len(lengths), generator=generator).tolist()
    batches: list[list[int]] = []
    for index in sorted(order, key=lambda index: lengths[index]):
        full = not batches or lengths[index] * (len(batches[-1]) + 1) > budget
        if full or beside(lengths[batches[-1][0]]) != beside(lengths[index]):
            batches.append([])
        batches[-1].append(index)
    if generator is None:
        return batches
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
