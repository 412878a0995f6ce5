"""Finding runs of objects of the same form while a stream is parsed.

A `Template` is learned from one object: which of its bytes are grammar (tags, classes, lengths of
texts) and which are values (numbers, characters, references to shared objects). Arrays of numbers
and texts may differ in length. Objects that match are neither parsed nor represented one by one,
and the result is the same as if they were: all that the grammar needs is compared byte by byte.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np

from qpbridge.errors import FormatError
from qpbridge.javastream.nodes import (
    BASE_HANDLE,
    BLOCKDATA,
    BLOCKDATALONG,
    CLASS,
    CLASSDESC,
    LONGSTRING,
    PRIMITIVES,
    PROXYCLASSDESC,
    REFERENCE,
    STRING,
    Bulk,
    Node,
    Run,
    Template,
    inner_nodes,
)
from qpbridge.javastream.strided import IntArray, read_values

MAX_NODES = 256
MAX_TEMPLATES = 32
OFTEN = 100
MIN_SIZE = 80
FIXED_TEXTS = (0, 36)
"""Lengths of texts that are taken to be the same in all objects: ids have 36 characters."""

_COUNTS = {4: struct.Struct(">I"), 2: struct.Struct(">H")}
"""How lengths are written, by their size: those of arrays, and of texts."""

Matcher: TypeAlias = Callable[[bytes, int], "re.Match[bytes] | None"]


class Form:
    """The objects of a template whose arrays have the same lengths."""

    __slots__ = ("index", "match", "met")

    def __init__(self, index: int) -> None:
        self.index = index
        self.met = 0
        self.match: Matcher | None = None


@dataclass(frozen=True, eq=False)
class Pattern(Template):
    """The form of one object, as others are compared with it.

    Parameters
    ----------
    lengths
        How long the stretches are; all but the last end with the length of what follows.
    patterns
        For each stretch, the regular expression of its bytes without that length.
    prefixes
        For each stretch but the last, the bytes of that length: 4 for an array, 2 for a text.
    sizes
        For each stretch but the last, the bytes of an item of what follows.
    forms
        What was met so far, by the lengths of the arrays.
    """

    lengths: list[int]
    patterns: list[bytes]
    prefixes: list[int]
    sizes: list[int]
    forms: dict[tuple[int, ...], Form] = field(default_factory=dict)

    @cached_property
    def matchers(self) -> list[Matcher]:
        """For each stretch, the matcher of its bytes."""
        lengths = [skip(prefix) for prefix in (*self.prefixes, 0)]
        return [
            re.compile(pattern + length, re.DOTALL).match
            for pattern, length in zip(self.patterns, lengths, strict=True)
        ]

    def match(self, data: bytes, pos: int, ends: array[int], met: array[int]) -> int:
        """Match as many objects as follow one another, and return where the last one ends.

        Appends the end of each, and the index of its form.
        """
        unpacks = [_COUNTS[prefix].unpack_from for prefix in self.prefixes]
        steps = list(zip(self.lengths, self.prefixes, unpacks, self.sizes, strict=False))
        last = self.lengths[-1]
        forms = self.forms
        while True:
            at = pos
            counts = []
            try:
                for length, prefix, unpack, size in steps:
                    at += length
                    (count,) = unpack(data, at - prefix)
                    counts.append(count)
                    at += count * size
            except struct.error:
                return pos
            form = forms.get(tuple(counts))
            if form is None or form.match is None:
                form = self._match_parts(data, pos, tuple(counts))
                if form is None:
                    return pos
            elif form.match(data, pos) is None:
                return pos
            pos = at + last
            ends.append(pos)
            met.append(form.index)

    def _match_parts(self, data: bytes, pos: int, counts: tuple[int, ...]) -> Form | None:
        """Match one object of a form that is not met often."""
        for matcher, count, size in zip(self.matchers, (*counts, 0), (*self.sizes, 0), strict=True):
            matched = matcher(data, pos)
            if matched is None:
                return None
            pos = matched.end() + count * size
            if pos > len(data):
                return None
        form = self.forms.setdefault(counts, Form(len(self.forms)))
        form.met += 1
        if form.met == OFTEN:
            # From now on one expression for the whole object: making it takes its time.
            pattern = b""
            steps = zip(self.patterns, self.prefixes, counts, self.sizes, strict=False)
            for part, prefix, count, size in steps:
                pattern += part + re.escape(_COUNTS[prefix].pack(count)) + skip(count * size)
            form.match = re.compile(pattern + self.patterns[-1], re.DOTALL).match
        return form

    def counts(self, met: IntArray) -> IntArray:
        """Return the variable lengths of objects, by the indices of their forms, int64 (n, k)."""
        distinct, inverse = np.unique(met, return_inverse=True)
        by_index = {form.index: counts for counts, form in self.forms.items()}
        lengths = [by_index[int(i)] for i in distinct]
        return np.array(lengths, np.int64).reshape(len(distinct), len(self.sizes))[inverse]


def skip(count: int) -> bytes:
    """Return the pattern of any `count` bytes."""
    return b".{%d}" % count if count else b""


class Templates:
    """The forms seen so far in one stream, by class."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.known: dict[bytes, list[Pattern]] = {}

    def learn(self, node: Node) -> None:
        """Remember the form of an object where the next one is of the same class."""
        data = self.data
        if node.end - node.start < MIN_SIZE:
            return
        key = data[node.start + 1 : node.start + 6]
        if key[0] != REFERENCE or data[node.end : node.end + 6] != b"s" + key:
            return
        known = self.known.setdefault(key, [])
        if len(known) < MAX_TEMPLATES and len(self.known) < MAX_TEMPLATES:
            template = _template(data, node)
            if template is not None:
                known.append(template)

    def match(self, pos: int, handle: int) -> Bulk | None:
        """Find the objects of known forms that begin at `pos`; None if there is none.

        Raises
        ------
        FormatError
            If one of them has a reference to nothing.
        """
        data = self.data
        known = self.known.get(data[pos + 1 : pos + 6])
        if not known:
            return None
        ends, met = array("q", [pos]), array("q")
        turns: list[tuple[int, int]] = []
        while True:
            before = len(met)
            for i, template in enumerate(known):
                pos = template.match(data, pos, ends, met)
                if len(met) > before:
                    turns.append((i, len(met) - before))
                    break
            else:
                break
        if not turns:
            return None
        which = np.repeat([i for i, _ in turns], [count for _, count in turns])
        return _bulk(data, known, np.array(ends), which, np.array(met), handle)


def _bulk(
    data: bytes,
    known: Sequence[Pattern],
    starts: IntArray,
    which: IntArray,
    met: IntArray,
    handle: int,
) -> Bulk:
    handles = np.zeros(len(starts), np.int64)
    np.cumsum(np.array([len(t.handles) for t in known])[which], out=handles[1:])
    handles += handle
    runs = []
    for i, template in enumerate(known):
        order = np.flatnonzero(which == i)
        if not len(order):
            continue
        sizes = np.array(template.sizes, np.int64)
        begins = np.empty((len(order), len(sizes) + 1), np.int64)
        begins[:, 0] = starts[order]
        begins[:, 1:] = template.counts(met[order]) * sizes + template.lengths[:-1]
        np.cumsum(begins, axis=1, out=begins)
        run = Run(data, template, order, handles[order], begins)
        for place, before in template.references:
            at = run.at(place)
            value = read_values(data, ">u4", at).astype(np.int64) - BASE_HANDLE
            bad = (value < 0) | (value >= run.first_handles + before)
            if bad.any():
                raise FormatError("a reference to nothing", offset=int(at[bad][0]) - 1)
        runs.append(run)
    return Bulk(starts, handles, runs)


def _template(data: bytes, node: Node) -> Pattern | None:
    """Learn the form of an object; None if it defines classes, or is too big to be worth it."""
    nodes: list[Node] = []
    for one in inner_nodes(node):
        if (
            not isinstance(one, Node)
            or one.tag in (CLASSDESC, PROXYCLASSDESC, CLASS)
            or len(nodes) == MAX_NODES
        ):
            return None
        nodes.append(one)
    free: list[tuple[int, int]] = []
    references: list[tuple[int, int]] = []
    class_references: list[int] = []
    handles: list[int] = []
    # Where what has a length of its own begins and ends, the bytes of that length, and of an item.
    variable: list[tuple[int, int, int, int]] = []
    for one in nodes:
        if one.handle >= 0:
            class_end = next((i.end for i in one.items if isinstance(i, Node) and i.desc), None)
            handles.append(one.value if class_end is None else class_end)
        if one.tag == REFERENCE and one.desc is not None:
            class_references.append(one.start + 1)
        elif one.tag == REFERENCE:
            free.append((one.start + 1, one.end))
            references.append((one.start + 1, len(handles)))
        elif one.tag == STRING and one.end - one.value not in FIXED_TEXTS:
            variable.append((one.value, one.end, 2, 1))
        elif one.tag in (STRING, LONGSTRING, BLOCKDATA, BLOCKDATALONG):
            free.append((one.value, one.end))
        elif one.is_numbers:
            size = PRIMITIVES[one.class_name[1]].itemsize
            variable.append((one.end - one.value * size, one.end, 4, size))
        free += [(part.at, part.at + part.desc.size) for part in one.parts if part.desc.size]
    free.sort()
    variable.sort()
    begins = [node.start, *(end for _, end, _, _ in variable)]
    ends = [*(content for content, _, _, _ in variable), node.end]
    prefixes = [prefix for _, _, prefix, _ in variable]
    stretches = list(zip(begins, ends, (*prefixes, 0), strict=True))
    return Pattern(
        node,
        begins,
        references,
        class_references,
        handles,
        lengths=[end - begin for begin, end, _ in stretches],
        patterns=[_pattern(data, begin, end - prefix, free) for begin, end, prefix in stretches],
        prefixes=prefixes,
        sizes=[size for _, _, _, size in variable],
    )


def _pattern(data: bytes, start: int, end: int, free: Sequence[tuple[int, int]]) -> bytes:
    """Return the pattern of a stretch of bytes, of which some are free."""
    pattern = b""
    for a, b in free:
        if start <= a and b <= end:
            pattern += re.escape(data[start:a]) + skip(b - a)
            start = b
    return pattern + re.escape(data[start:end])
