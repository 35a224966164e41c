"""Documents to passages: readers, cutting, the corpus file, and the texts that SFT learns from it."""

from .collect import Collection, collect, read_documents, warn_skipped
from .passages import statements, training_texts
from .records import is_corpus, read_corpus, read_questions, sniff, write_corpus

__all__ = [
    "Collection",
    "collect",
    "is_corpus",
    "read_corpus",
    "read_documents",
    "read_questions",
    "sniff",
    "statements",
    "training_texts",
    "warn_skipped",
    "write_corpus",
]
