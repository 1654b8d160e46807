"""Inputs made out of others: bytes changed at random, and JSON changed in its structure."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

__all__ = ["mutate", "mutate_json"]

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**53, 2**63, 10**400, 0.5, -0.0, 1e308, 1e-320,
    "", " ", "a", "\ud800", "\x1b[31m", "../x", "/etc/passwd", "x" * 5000, "=1+1", "</script>",
    [], {}, [[]], [None], {"": 0}, [0] * 300, ["Rock", "Rock"], [[[[[[]]]]]],
)  # fmt: skip


def mutate(
    rng: random.Random,
    data: bytes,
    *,
    corpus: Sequence[bytes] = (),
    words: Sequence[bytes] = (),
    max_len: int = 1 << 16,
) -> bytes:
    """Bytes that differ from `data` in a few places."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8, 32))):
        _change(rng, out, corpus, words)
        del out[max_len:]
    return bytes(out)


def _change(
    rng: random.Random, out: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]
) -> None:
    at = rng.randint(0, len(out))
    length = min(len(out) - at, rng.choice((1, 2, 4, 8, 16, 100, 1000)))
    match rng.randrange(10):
        case 0 if at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(out):
            out[at] = rng.randrange(256)
        case 2:
            del out[at : at + length]
        case 3:
            out[at:at] = out[at : at + length] * rng.choice((1, 1, 2, 50))
        case 4:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(_NUMBERS) & (1 << 8 * size) - 1
            out[at : at + size] = number.to_bytes(size, rng.choice(("big", "little")))
        case 5 if words:
            word = rng.choice(words) * rng.choice((1, 1, 1, 1, 3, 200))
            out[at : at + rng.choice((0, len(word)))] = word
        case 6:
            other = rng.choice(corpus) if corpus else bytes(out)
            start = rng.randint(0, len(other))
            out[at : at + rng.choice((0, length))] = other[start : start + 4 * length]
        case 7:
            del out[at:]
        case 8:
            out[at:at] = rng.randbytes(length)
        case _:
            start = rng.randint(0, len(out))
            out[at:at] = out[start : start + length]


def mutate_json(rng: random.Random, data: bytes) -> bytes | None:
    """JSON with a few values exchanged, dropped or doubled; None where `data` is no JSON."""
    try:
        root = [json.loads(data)]
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = [(holder, key) for holder in _holders(root) for key in _keys(holder)]
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, list) and holder is not root:
                holder.insert(key, holder[key])
            case 2:
                other, name = rng.choice(places)
                holder[key] = other[name] if other is not root else None
            case 3 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "\x00", "../y", key + "2"))] = holder[key]
            case _:
                holder[key] = rng.choice(_VALUES)
        try:
            root = json.loads(json.dumps(root))  # what was taken from elsewhere is a copy now
        except (ValueError, RecursionError):
            return None
    return json.dumps(root[0]).encode()


def _holders(value: Any) -> list[Any]:
    found, waiting = [], [value]
    while waiting:
        here = waiting.pop()
        found.append(here)
        inside = here.values() if isinstance(here, dict) else here
        waiting += [one for one in inside if isinstance(one, dict | list) and one]
    return found


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))
