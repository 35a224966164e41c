"""Which model a LoRA adapter directory changes: named so that the directory can be shared, found again, and verified."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from . import models, standing_in
from .cache import recall, remember
from .errors import MismatchError, UsageError
from .files import exists, read_json, write_json
from .hashing import hash_weights

CONFIG = "adapter_config.json"
HASH = "base_hash"
"""Entry of an adapter's past.json: `hashing.hash_weights` of the model it was made for."""

_SNAPSHOT = re.compile(r".*/models--([^/]+?)--([^/]+)/snapshots/[0-9a-f]{7,}/?$")


def named_base(adapter: Path) -> str:
    """What the adapter's own configuration calls its base; '' if it names none. Raises `MismatchError` if it is no name."""
    name = read_json(adapter / CONFIG).get("base_model_name_or_path") or ""
    if not isinstance(name, str) or len(name) > models.LONGEST:
        raise MismatchError(f"{adapter / CONFIG}: base_model_name_or_path is no name, but {str(name)[:40]!r}", _HINT)
    return name


def named_revision(adapter: Path) -> str:
    """The commit, branch or tag of a hub id that the adapter's own configuration asks for, as PEFT writes it; '' if none."""
    revision = read_json(adapter / CONFIG).get("revision")
    return revision if isinstance(revision, str) else ""


def base_of(adapter: Path, named: str | None = None, given: Path | None = None) -> models.ModelRef:
    """The model an adapter changes, as `find_base`; raises `MismatchError` if it is not to be had."""
    named = named_base(adapter) if named is None else named
    found = find_base(adapter, named, given)
    if found is not None:
        return found
    why = ""
    try:
        models.resolve(named, named_revision(adapter))
    except UsageError as error:
        why = f" ({error.message})"
    raise MismatchError(f"{adapter} is an adapter whose base model {named!r} is not on this disk{why}", _HINT)


def find_base(adapter: Path, named: str, given: Path | None = None) -> models.ModelRef | None:
    """The model an adapter names: relative to it, by path, alias, run, or hub id through the cache, whichever of the commits there it
    was made for; else where that very model was last seen on this machine; None if it is nowhere. What the user gives (`given`, or
    `standing_in`) stands in for a base that is no path here; where nothing shows that it is the right one, that is said and recorded.
    Raises `MismatchError` if what stands there has other weights than the adapter was made for.
    """
    wanted = str(models.read_note(adapter).get(HASH) or "")
    here = next((path for path in (adapter / named, Path(named)) if named and exists(path)), None)
    if here is not None:
        _refuse_circle(adapter, here)
    given = given or standing_in.named()
    if given is not None and here is None and given.resolve() != adapter.resolve():
        found = models.resolve(given)
        if not wanted:
            standing_in.trust(f"{adapter.name} names its base as {named!r}: that this is {given.name} is not proven")
        elif hash_weights(found.path) != wanted:
            raise MismatchError(f"{found.path} is not the model that the adapter {adapter} was made for", _HINT)
        else:
            remember("places", wanted, str(found.path.resolve()))
        return found
    places = [(str(here) if here else named, named_revision(adapter))]
    if wanted:  # of another commit the weights may be the same, and its hash proves it
        places += [(named, ""), (recall("places", wanted), "")]
    other = None
    for place, revision in places:
        if not place:
            continue
        with suppress(UsageError):
            found = models.resolve(place, revision)
            for one in (found, *models.other_snapshots(found)) if wanted else ():
                if hash_weights(one.path) == wanted:
                    return one
            if not wanted:
                return found
            other = other or found
            if other.path.suffix != ".gguf":
                break  # of a GGUF the adapter is of what was made of it, and where that is this machine may remember
    if other is not None:
        raise MismatchError(f"{other.path} is not the model that the adapter {adapter} was made for", _HINT)
    return None


def _refuse_circle(adapter: Path, base: Path) -> None:
    """Adapters may lie over adapters, but not over themselves."""
    seen = {adapter.resolve()}
    while exists(base / CONFIG):
        if base.resolve() in seen:
            raise MismatchError(
                f"{adapter} is an adapter whose bases lead back to {base.name}: there is no model below", _HINT
            )
        seen.add(base.resolve())
        base = (base / named_base(base)).resolve()


_HINT = "put it there, name it with --base MODEL, or merge the adapter"


def name_base(adapter: Path, base: Path, final: Path) -> None:
    """Write into the adapter which model it changes. No path of this machine goes in: a hub id or alias where there is one,
    else the way to `base` from `final`, where the adapter will lie. Where `base` lies is remembered here, by its hash.
    """
    weights = hash_weights(base)
    remember("places", weights, str(base.resolve()))
    config = {**read_json(adapter / CONFIG), "base_model_name_or_path": shared_name(base, final), "revision": None}
    note = models.read_note(base)
    if base.is_file():  # a GGUF is a base by itself, and its own template
        note = {"base": models.alias_of(base) or base.name, "revision": "", "gguf_template": weights}
    elif cached := _SNAPSHOT.match(str(base)):
        note = {"base": f"{cached[1]}/{cached[2]}", "revision": base.name, "gguf_template": ""}
        config["revision"] = base.name
    write_json(adapter / CONFIG, config)
    write_json(adapter / models.NOTE_FILE, {**note, HASH: weights})


def shared_name(base: Path, final: Path) -> str:
    """What to call a model in a file that others will read: hub id, alias, or the relative way from the folder `final`."""
    base = base.absolute()
    if cached := _SNAPSHOT.match(str(base)):
        return f"{cached[1]}/{cached[2]}"
    if alias := models.alias_of(base):
        return alias
    return os.path.relpath(base.resolve(), os.path.realpath(final))
