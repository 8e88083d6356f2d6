"""Softmax regression over sparse categorical features, fitted with all the data at each step: chance has no part."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int32]
Floats = NDArray[np.float64]

Gradient = Callable[[Floats], tuple[float, Floats]]


def adam(
    gradient: Gradient, size: tuple[int, ...], steps: int, rate: float, report: Callable[[int, float], None]
) -> Floats:
    """The weights after `steps` steps; the rate falls to nothing, so that the end is at rest."""
    weights, mean, square = np.zeros(size), np.zeros(size), np.zeros(size)
    for step in range(1, steps + 1):
        loss, slope = gradient(weights)
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope * slope
        pace = rate * (1 - (step - 1) / steps)
        weights -= pace * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)
        report(step, loss)
    return weights


def tags(indices: Indices, labels: Indices, counts: Floats, features: int, classes: int, penalty: float) -> Gradient:
    """Each row of `indices` names its features; one of `classes` labels is right; `counts` is how often it was seen.
    Feature 0 is none."""
    total = counts.sum()
    rows = np.arange(len(labels))

    def gradient(weights: Floats) -> tuple[float, Floats]:
        scores = weights[indices].sum(axis=1)
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -float((np.log(chances[rows, labels] + 1e-12) * counts).sum()) / total
        chances[rows, labels] -= 1
        chances *= counts[:, None] / total
        slope = np.stack([_added(indices, chances[:, k], features) for k in range(classes)], axis=1)
        slope[0] = 0
        return loss, slope + penalty * weights

    return gradient


def spans(indices: Indices, lengths: Indices, labels: Indices, features: int, penalty: float) -> Gradient:
    """Groups of candidates of which at most one is right: `indices` is [group, candidate, feature], `lengths` says how
    many candidates a group has, label 0 says none is right. None scores 0."""
    total, width = len(labels), indices.shape[1]
    rows = np.arange(total)
    absent = np.arange(width)[None, :] >= lengths[:, None]

    def gradient(weights: Floats) -> tuple[float, Floats]:
        scores = np.concatenate([np.zeros((total, 1)), np.where(absent, -1e9, weights[indices].sum(axis=2))], axis=1)
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -float(np.log(chances[rows, labels] + 1e-12).sum()) / total
        chances[rows, labels] -= 1
        added = [_added(indices[:, k], chances[:, k + 1], features) for k in range(width)]
        slope: Floats = np.sum(added, axis=0) / total
        slope[0] = 0
        return loss, slope + penalty * weights

    return gradient


def _added(indices: Indices, values: Floats, features: int) -> Floats:
    width = indices.shape[1]
    return np.bincount(indices.ravel(), weights=np.repeat(values, width), minlength=features).astype(np.float64)
