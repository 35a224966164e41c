"""The checkpoint format `gguf` as the registry sees it: asking whether it accepts a path imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pastcli import models
from pastcli.api import Checkpoint
from pastcli.errors import MismatchError, UsageError
from pastcli.regular import regular

if TYPE_CHECKING:
    import numpy as np

    from .checkpoint import GGUFCheckpoint
    from .writer import GGUFWriter


class GGUFFormat:
    """The `gguf` checkpoint format."""

    name = "gguf"

    def accepts(self, path: Path) -> bool:
        try:
            with open(regular(path), "rb") as file:
                return file.read(4) == b"GGUF"
        except OSError:
            return False

    def open(self, path: Path) -> GGUFCheckpoint:
        from .checkpoint import GGUFCheckpoint

        return GGUFCheckpoint(Path(path))

    def writer(
        self,
        template: Checkpoint,
        out: Path,
        *,
        dtype: str = "auto",
        types: Mapping[str, str] | None = None,
        rounding: str = "nearest",
        seed: int = 0,
        layout: Path | None = None,
    ) -> GGUFWriter:
        """See `api.CheckpointFormat`. `template` may be another format's checkpoint of the same model: tokenizer and
        metadata then come from the GGUF `layout`, by default the one that `models.gguf_template` finds for it.
        """
        from .checkpoint import GGUFCheckpoint
        from .writer import GGUFWriter

        if rounding != "nearest":
            raise UsageError(
                f"GGUF is written with ggml's quantisers, which have no {rounding} rounding",
                "use --rounding nearest, or a higher stored type",
            )
        base = template if isinstance(template, GGUFCheckpoint) else self.layout_for(template, layout)
        return GGUFWriter(template, base, Path(out), dtype, types or {})

    def layout_for(self, template: Checkpoint, layout: Path | None) -> GGUFCheckpoint:
        found = layout or models.gguf_template(template.path)
        if found is None:
            raise MismatchError(
                f"no GGUF of the base model of {template.path} is known, to take its tokenizer from",
                "name the base model's GGUF: --template GGUF, or gguf_template in its past.json",
            )
        return self.open(found)

    def export_lora(self, source: Path, template: Path, out: Path) -> None:
        """Write a low-rank skill file or a PEFT directory as a LoRA-GGUF for the GGUF `template`; see `lora`."""
        from .lora import export_lora

        export_lora(source, template, out)

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        import numpy as np

        from . import ggml

        kind = ggml.parse_type(dtype)
        return ggml.dequantize(ggml.quantize(value, kind, columns), kind, np.empty(value.size, np.float32))
