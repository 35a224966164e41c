"""Settings: what each stage takes (`stages`), what one setting is (`setting`), where its value comes from (`resolve`)."""

from __future__ import annotations

from .resolve import (
    Resolved,
    decisive,
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
from .setting import default_of, finite, setting
from .stages import (
    STAGES,
    AskConfig,
    DistillConfig,
    EvalConfig,
    ExportConfig,
    ExtractConfig,
    GenerateConfig,
    IngestConfig,
    InjectConfig,
    ProbeConfig,
    StudyConfig,
    SweepConfig,
)
from .tools import AgentConfig, LessonsConfig, ServeConfig
from .training import RlConfig, SftConfig

__all__ = [
    "STAGES",
    "AgentConfig",
    "AskConfig",
    "DistillConfig",
    "EvalConfig",
    "ExportConfig",
    "ExtractConfig",
    "GenerateConfig",
    "IngestConfig",
    "InjectConfig",
    "LessonsConfig",
    "ProbeConfig",
    "Resolved",
    "RlConfig",
    "ServeConfig",
    "SftConfig",
    "StudyConfig",
    "SweepConfig",
    "decisive",
    "default_of",
    "digest",
    "find_file",
    "finite",
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
