"""Settings: what each stage takes (`stages`), what one setting is (`setting`), where its value comes from (`resolve`)."""

from __future__ import annotations

from .resolve import (
    Resolved,
    digest,
    find_file,
    from_table,
    load_file,
    nearest,
    resolve,
    resolve_with_sources,
    to_dict,
    to_toml,
    validated,
)
from .setting import default_of, setting
from .stages import (
    STAGES,
    AgentConfig,
    DistillConfig,
    EvalConfig,
    ExportConfig,
    ExtractConfig,
    GenerateConfig,
    IngestConfig,
    InjectConfig,
    ProbeConfig,
    RlConfig,
    ServeConfig,
    SftConfig,
    SweepConfig,
)

__all__ = [
    "STAGES",
    "AgentConfig",
    "DistillConfig",
    "EvalConfig",
    "ExportConfig",
    "ExtractConfig",
    "GenerateConfig",
    "IngestConfig",
    "InjectConfig",
    "ProbeConfig",
    "Resolved",
    "RlConfig",
    "ServeConfig",
    "SftConfig",
    "SweepConfig",
    "default_of",
    "digest",
    "find_file",
    "from_table",
    "load_file",
    "nearest",
    "resolve",
    "resolve_with_sources",
    "setting",
    "to_dict",
    "to_toml",
    "validated",
]
