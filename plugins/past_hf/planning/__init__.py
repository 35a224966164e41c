"""What a training would take, before it is paid for: memory by part, tokens, operations, time, disk, and what would fit."""

from __future__ import annotations

from .plan import plan

__all__ = ["plan"]
