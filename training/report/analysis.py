"""The numbers behind the figures of a report, each a pure function of arrays.

Shapes     C classes; n images; D model width; P values in a flattened patch; N patches
"""

from typing import NamedTuple

import numpy as np

MOST_ORDERED = 2000  # classes; joining groups takes the cube of their number


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How many images of each class (row) were taken for each class (column): int (C, C)."""
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    return confusion


def similar_together(confusion: np.ndarray) -> np.ndarray:
    """An order of the classes in which those that are taken for each other are neighbours: int (C,).

    Groups are joined, those first whose members are most often confused (average linkage), and each pair of groups is
    turned so that their most similar ends meet. What is never confused stays in the order of the classes.
    """
    count = len(confusion)
    if count > MOST_ORDERED:
        return np.arange(count)
    rates = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    between = rates + rates.T
    likeness = between.copy()
    np.fill_diagonal(likeness, -1)
    groups = {i: [i] for i in range(count)}
    for _ in range(count - 1):
        i, j = divmod(int(likeness.argmax()), count)  # i < j, as the matrix is symmetric
        if likeness[i, j] <= 0:
            break
        one, other = groups[i], groups.pop(j)
        sizes = len(one), len(other)
        ends = [(a, b) for a in (one, one[::-1]) for b in (other, other[::-1])]
        first, second = max(ends, key=lambda pair: between[pair[0][-1], pair[1][0]])
        groups[i] = first + second
        likeness[i] = np.average(likeness[[i, j]], axis=0, weights=sizes)
        likeness[:, i] = likeness[i]
        likeness[i, i] = likeness[j] = likeness[:, j] = -1
    return np.array([c for group in groups.values() for c in group])


class Components(NamedTuple):
    """Principal components, that of the largest variance first; k of them."""

    coordinates: np.ndarray  # (n, k), of the rows of the data
    directions: np.ndarray  # (k, D), orthonormal; the largest entry of each is positive
    shares: np.ndarray  # (k,), of the variance; zeros where there is none


def principal_components(data: np.ndarray, count: int) -> Components:
    """The first `count` components of n points (n, D), or as many as the smaller of n and D.

    They are eigenvectors of X^T X, for the centred points X. Where D is larger than n they come from X X^T instead,
    which has the same eigenvalues: if X X^T u = s u, then X^T u is an eigenvector of X^T X.
    """
    centred = np.asarray(data, float) - np.mean(data, axis=0, dtype=float)
    points, width = centred.shape
    products = centred.T @ centred if width <= points else centred @ centred.T
    squares, vectors = np.linalg.eigh(products)  # in ascending order
    squares, directions = squares[::-1][:count], vectors.T[::-1][:count]
    if width > points:
        directions = directions @ centred
        length = np.linalg.norm(directions, axis=1, keepdims=True)
        directions = directions / np.where(length > 0, length, 1)
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.where(directions[np.arange(len(directions)), largest] < 0, -1, 1)[:, None]
    total = np.trace(products)
    return Components(centred @ directions.T, directions, np.clip(squares, 0, None) / (total if total > 0 else 1))


def position_similarity(positions: np.ndarray) -> np.ndarray:
    """The cosine similarity of each position embedding with each other one: (N, D) -> (N, N). That of zeros is 0."""
    length = np.linalg.norm(positions, axis=1, keepdims=True)
    unit = positions / np.where(length > 0, length, 1)
    return np.clip(unit @ unit.T, -1, 1)


def patch_filters(weights: np.ndarray, shape: tuple[int, int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the D filters of a patch embedding, as pictures (k, h, w, channels) from 0 to 1.

    Each is scaled by its largest entry, with 0 in the middle. Also the share of the variance of each, (k,).

    weights: (P, D), P ordered as `shape`, (h, w, channels).
    """
    components = principal_components(weights.T, count)
    largest = np.abs(components.directions).max(axis=1, keepdims=True)
    return (0.5 + components.directions / (2 * np.where(largest > 0, largest, 1))).reshape(
        -1, *shape
    ), components.shares


class Bin(NamedTuple):
    """The images whose first guess has a probability in the same range."""

    images: int
    probability: float  # the mean
    right: float  # the fraction


def reliability(probabilities: np.ndarray, right: np.ndarray, bins: int = 10) -> list[Bin]:
    """Ranges of equal width from 0 to 1, without the empty ones."""
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        Bin(int((which == b).sum()), float(probabilities[which == b].mean()), float(right[which == b].mean()))
        for b in range(bins)
        if (which == b).any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """The expected calibration error (Naeini et al. 2015): the mean gap of probability and accuracy over all images."""
    return sum(b.images * abs(b.probability - b.right) for b in bins) / sum(b.images for b in bins)
