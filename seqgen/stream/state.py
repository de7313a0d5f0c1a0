"""State trees: nested (named) tuples of tensors, batch first, whose leaves are named by their path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from seqgen.spec import StateLeaf

State = Any  # nested NamedTuple/tuple of tensors; () where a layer keeps nothing


def leaves(state: State, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every leaf with its path: field names of named tuples, positions of plain ones, joined by dots.

    Example:
        >>> [name for name, _ in leaves((torch.zeros(1), (torch.zeros(1),)))]
        ['0', '1.0']
    """
    if isinstance(state, Tensor):
        yield prefix, state
        return
    names = getattr(state, "_fields", None) or [str(index) for index in range(len(state))]
    for name, child in zip(names, state, strict=True):
        yield from leaves(child, f"{prefix}.{name}" if prefix else name)


def map_leaves(function: Callable[..., Any], state: State, *others: State) -> State:
    """A tree of the same structure with ``function`` applied leaf by leaf (to several trees in parallel)."""
    if isinstance(state, Tensor):
        return function(state, *others)
    children = [map_leaves(function, *group) for group in zip(state, *others, strict=True)]
    return type(state)(*children) if hasattr(state, "_fields") else tuple(children)


def unflatten(template: State, flat: Sequence[Tensor]) -> State:
    """The tree of ``template``'s structure whose leaves are ``flat``, in the order of :func:`leaves`.

    Raises:
        ValueError: for too few or too many leaves.
    """
    expected = sum(1 for _ in leaves(template))
    if len(flat) != expected:
        raise ValueError(f"got {len(flat)} leaves for a state of {expected}")
    remaining = iter(flat)
    return map_leaves(lambda _: next(remaining), template)


def rows(state: State, index: Tensor | slice) -> State:
    """The same state for some rows of the batch only: forking, server slots, sub-batches."""
    return map_leaves(lambda leaf: leaf[index], state)


def merge(states: Sequence[State]) -> State:
    """States of several batches as one batch: the inverse of taking :func:`rows`."""
    return map_leaves(lambda *parts: torch.cat(parts), *states)


def table(state: State) -> tuple[StateLeaf, ...]:
    """The state table for a bundle: path, shape without the batch axis, and dtype of every leaf."""
    return tuple(
        StateLeaf(name, tuple(leaf.shape[1:]), str(leaf.dtype).removeprefix("torch.")) for name, leaf in leaves(state)
    )
