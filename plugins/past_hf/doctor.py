"""Self-test of the transformers backend, for `past doctor`: a tiny model is made, trained for a step, and asked."""

from __future__ import annotations

import time


def doctor() -> list[tuple[str, bool, str]]:
    """(check, passed, detail): forward, backward and generate really work with the torch and transformers installed."""
    import torch
    import transformers

    begun = time.monotonic()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=64, **sizes))
    ids = torch.arange(16).reshape(2, 8)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    model.eval()
    made = model.generate(input_ids=ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
    learns = losses[-1] < losses[0] and bool(torch.isfinite(torch.tensor(losses)).all())
    detail = f"transformers {transformers.__version__}, torch {torch.__version__}; {time.monotonic() - begun:.1f} s"
    if not learns or made.shape[1] <= ids.shape[1]:
        return [("transformers", False, f"a step of training does not lower the loss: {losses}")]
    return [("transformers", True, f"trains and generates; {detail}")]
