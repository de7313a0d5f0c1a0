"""Agreement of clusterings with known classes, by counting pairs and by definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from seqgen.metrics.clustering import adjusted_rand_index, boundaries, normalised_mutual_information, purity


def test_a_clustering_under_other_names_is_the_same() -> None:
    known = np.array([0, 0, 1, 1, 2, 2])
    found = np.array([7, 7, 3, 3, 5, 5])
    assert adjusted_rand_index(found, known) == 1.0
    assert normalised_mutual_information(found, known) == pytest.approx(1.0)


def test_the_rand_index_counts_pairs() -> None:
    generator = np.random.Generator(np.random.Philox(0))
    found, known = generator.integers(0, 3, 30), generator.integers(0, 4, 30)
    pairs = list(itertools.combinations(range(30), 2))
    one = np.array([found[a] == found[b] for a, b in pairs])
    other = np.array([known[a] == known[b] for a, b in pairs])
    expected = one.sum() * other.sum() / len(pairs)
    value = ((one & other).sum() - expected) / (0.5 * (one.sum() + other.sum()) - expected)
    assert adjusted_rand_index(found, known) == pytest.approx(value)


def test_chance_agreement_counts_nothing() -> None:
    generator = np.random.Generator(np.random.Philox(1))
    values = [adjusted_rand_index(generator.integers(0, 5, 200), generator.integers(0, 5, 200)) for _ in range(50)]
    assert abs(np.mean(values)) < 0.005
    assert adjusted_rand_index(np.zeros(10, np.int64), np.arange(10)) == 0.0
    assert adjusted_rand_index(np.zeros(3, np.int64), np.zeros(3, np.int64)) == 1.0


def test_mutual_information_of_independent_labels_is_zero() -> None:
    found, known = np.repeat([0, 1], 6), np.tile([0, 1, 2], 4)
    assert normalised_mutual_information(found, known) == pytest.approx(0.0)
    half = normalised_mutual_information(np.repeat([0, 1, 2, 3], 3), np.repeat([0, 1], 6))
    assert half == pytest.approx(2 * np.log(2) / (np.log(4) + np.log(2)))


def test_purity_counts_the_commonest_class_of_each_cluster() -> None:
    found, known = np.array([3, 3, 3, 5, 5, 9]), np.array([0, 0, 1, 1, 1, 0])
    assert purity(found, known) == pytest.approx(5 / 6)
    assert purity(np.zeros(6, np.int64), known) == pytest.approx(1 / 2)
    assert purity(np.arange(6), known) == 1.0


def test_a_boundary_is_found_once() -> None:
    found = boundaries(np.array([9, 10, 11, 40]), np.array([10, 20]), tolerance=2)
    assert found == (0.25, 0.5, pytest.approx(1 / 3))
    assert boundaries(np.array([8, 12]), np.array([10, 11]), tolerance=2) == (1.0, 1.0, 1.0)
    assert boundaries(np.array([], np.int64), np.array([10]), tolerance=2) == (0.0, 0.0, 0.0)
