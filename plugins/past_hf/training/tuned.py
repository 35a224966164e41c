"""The GRPO step of one process without a card: 16-bit working weights, no backward for rows without a signal, and a
question read once for all answers to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from pastcli.errors import PastError

from ..compute import plain, token_batches, token_logprobs
from ..habits import MORE, alone, beside, holds, remembered, same, samples
from ..lines import possible
from . import groups
from .groups import pack
from .overrides import stands_in

if TYPE_CHECKING:  # what it is mixed into
    from .grpo import Grpo as Step
else:
    Step = object

BY_ROW = frozenset(
    ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask", "advantages", "ref_per_token_logps")
)
"""Fields of TRL 1.16's batch that have a row for each answer; the package is pinned to the version they are those of."""
WHOLE = frozenset(("num_items_in_batch",))


def loss_mask(batch: dict[str, Any]) -> torch.Tensor:
    """(B, C): 1 for the tokens of the answers that the policy chose; observations of tools are not among them."""
    return batch["completion_mask"] * batch.get("tool_mask", 1)


class TunedStep(Step):
    """Mixed in before `Grpo`."""

    @stands_in()
    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        total = torch.zeros(())
        with self.clock("train"), self.working as working:
            batch = self._prepare_inputs(inputs)
            for part, share in self._parts(batch):
                loss = self._compute_loss(model, part) * share
                working.backward(loss)
                total += loss.detach()
        self._step += 1
        return total

    def _parts(self, batch: dict[str, Any]) -> Iterator[tuple[dict[str, Any], float]]:
        """(micro-batch, its share of the loss): rows with an advantage, by length, within the token budget.

        Without a KL term a row of advantage 0 has gradient 0, and equal answers to one question are one row
        with their advantages added: on policy the gradient is linear in the advantage. The share makes the
        sum over micro-batches the loss of the whole batch, as TRL normalises it.
        """
        if strange := batch.keys() - BY_ROW - WHOLE:
            raise PastError(f"this version of TRL has fields in its batch that are not known here: {sorted(strange)}")
        kept = self._merged(batch) if self.beta == 0.0 else list(range(len(batch["advantages"])))
        self._metrics["train"]["rows_trained"].append(len(kept))
        rows, tokens = len(batch["advantages"]), loss_mask(batch).sum().item()
        for picked in self._together(batch, kept):
            part = {key: value[picked] if key in BY_ROW else value for key, value in batch.items()}
            if self.loss_type == "bnpo":
                yield part, loss_mask(part).sum().item() / tokens
            else:
                yield part, 1.0 if self.loss_type == "dapo" else len(picked) / rows

    def _together(self, batch: dict[str, Any], kept: list[int]) -> Iterator[torch.Tensor]:
        """Rows of one backward pass each, within the token budget: of one prompt together, else of like length."""
        budget = self.job.config.batch_tokens
        prompts = [tuple(batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()) for row in kept]
        answers = batch["completion_mask"].sum(1)[kept].tolist()
        made = self._packs(prompts, answers)
        lengths = [groups.length_of(rows, prompts, answers) for rows in made]
        for part in token_batches(lengths, budget, None, beside(self.model)):
            yield torch.tensor([kept[row] for index in part for row in made[index]])

    def _packs(self, prompts: list[tuple[int, ...]], answers: list[int]) -> list[list[int]]:
        if not shares_rows(self.model):
            return [[row] for row in range(len(prompts))]
        return groups.shared(prompts, answers, self.job.config.batch_tokens)

    def _merged(self, batch: dict[str, Any]) -> list[int]:
        """Rows to train on; `batch["advantages"]` of each takes up those of its equals."""
        advantages = batch["advantages"]
        first: dict[tuple[int, ...], int] = {}
        both = torch.cat([batch["prompt_ids"], batch["completion_ids"], batch["completion_mask"], loss_mask(batch)], 1)
        for row, key in enumerate(map(tuple, both.tolist())):
            if key in first:
                advantages[first[key]] += advantages[row]
            else:
                first[key] = row
        return [row for row in first.values() if abs(advantages[row].item()) > 1e-6]

    @stands_in(within="_compute_loss")
    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, **_):
        """As TRL's, for text: (B, `logits_to_keep`) log-probabilities and entropies, 0 where the mask is 0.

        Rows lose their padding on the left first, so that a prompt starts at position 0 as it did in decoding; answers to one
        prompt are read in one row where the model attends in the plain way.
        """
        at_once = max(1, self.job.config.batch_tokens // input_ids.shape[1])
        if not torch.is_grad_enabled() and len(input_ids) > at_once:  # TRL scores a whole batch by the KL reference
            parts = [
                self._get_per_token_logps_and_entropies(model, ids, mask, logits_to_keep)[:2]
                for ids, mask in zip(input_ids.split(at_once), attention_mask.split(at_once), strict=True)
            ]
            return *(torch.cat(column) for column in zip(*parts, strict=True)), None
        keep = attention_mask.bool()
        mask, asked = keep[:, -logits_to_keep:], keep[:, :-logits_to_keep]
        prompts = [tuple(row[it].tolist()) for row, it in zip(input_ids[:, :-logits_to_keep], asked, strict=True)]
        answers = [row[it].tolist() for row, it in zip(input_ids[:, -logits_to_keep:], mask, strict=True)]
        packs = self._packs(prompts, [len(answer) for answer in answers])
        made = groups.pack(prompts, answers, packs, self._tokenizer.pad_token_id)
        flat, entropy = token_logprobs(
            model, made.ids, made.answer, self.temperature, made.previous, **self._reading(made)
        )
        order = torch.tensor(made.order)
        empty = flat.new_zeros(mask.shape)
        columns = (empty.index_copy(0, order, empty.masked_scatter(mask[order], part)) for part in (flat, entropy))
        return *columns, None

    def _reading(self, made: groups.Packed) -> dict[str, torch.Tensor]:
        """What the model is given beside the tokens; nothing where each row is one sequence, which it masks by itself."""
        return {} if len(made.order) == len(made.ids) else _apart(self.model, made)


def _apart(model: Any, made: groups.Packed) -> dict[str, torch.Tensor]:
    kind = next(model.parameters()).dtype
    hidden = torch.zeros(made.seen.shape, dtype=kind).masked_fill_(~made.seen, torch.finfo(kind).min)
    return {"attention_mask": hidden, "position_ids": made.positions}


def shares_rows(model: Any) -> bool:
    """Whether a model says of answers in one row what it says of each alone: it attends in the plain way, and keeps to a mask and to
    positions that are not those of a single text, tried on a few tokens."""
    return possible(plain(model)) and remembered(model, "rows", lambda: holds(lambda: _shares_rows(plain(model))))


def _shares_rows(model: Any) -> bool:
    one, other = samples(model)[:2]
    prompt, answers = tuple(one[:-MORE]), [one[-MORE:], other[-MORE:]]
    made = pack([prompt, prompt], answers, [[0, 1]], 0)
    logits = model(input_ids=made.ids, use_cache=False, **_apart(model, made)).logits[0]
    wanted = torch.stack([alone(model, [*prompt, *answer])[1] for answer in answers])
    return same(model, logits[[len(prompt) + MORE - 1, len(prompt) + 2 * MORE - 1]], wanted)
