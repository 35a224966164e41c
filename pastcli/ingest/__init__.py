"""Documents to passages: readers, cutting, the corpus file, and the texts that SFT learns from it."""

from .collect import Collection, collect, read_documents, warn_skipped
from .pairs import read_pairs
from .passages import borders, statements, titles_and_texts, training_texts
from .questions import read_questions
from .records import is_corpus, read_corpus, sniff, write_corpus
from .walk import from_stdin

__all__ = [
    "Collection",
    "borders",
    "collect",
    "from_stdin",
    "is_corpus",
    "read_corpus",
    "read_documents",
    "read_pairs",
    "read_questions",
    "sniff",
    "statements",
    "titles_and_texts",
    "training_texts",
    "warn_skipped",
    "write_corpus",
]
