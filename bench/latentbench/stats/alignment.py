"""Which latents of one coder are latents of another one: one-to-one matching by similarity, and what chance would give.

Similarities come in row blocks, so that a pair of wide coders never has its full matrix in memory: small ones are matched
exactly on the dense matrix, wide ones on the graph of each row's nearest columns, which is exact on that graph.

Two nulls, because "above chance" means two things. A random assignment asks whether the latents of two coders resemble each
other pair by pair at all; the best assignment beats it even between two clouds of noise, since it was chosen for that. So the
null that counts breaks the relation of the two coders (columns of one are permuted, which keeps all similarities inside it) and
matches again. Comparing the best matching with random ones only is the tempting shortcut, and finds overlap everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 1024
"""Rows of similarities computed at a time."""
DENSE = 6000 * 6000
"""Entries up to which the whole matrix is matched (288 MB)."""
TOP = 32
"""Nearest columns kept per row above that."""


class Similarity(Protocol):
    """Similarities between the rows of two sets, given in blocks."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of the first and of the second set."""

    def block(self, start: int, stop: int) -> Floats:
        """Similarities of rows start to stop of the first set with all of the second, [stop - start, m]."""

    def pairs(self, rows: Ints, columns: Ints) -> Floats:
        """Similarities of given pairs [k]."""

    def broken(self, seed: int) -> Similarity:
        """Return the two sets without their relation: features of the second in another order."""


class DirectionCosine:
    """Cosine between vectors.

    Args:
        a: [n, d]; b: [m, d]. A zero row has similarity 0 with everything.
        centre: subtract the mean of all rows first. Text embeddings share a large common part, without which any two are similar.
    """

    def __init__(self, a: NDArray[Any], b: NDArray[Any], centre: bool = False) -> None:
        x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if centre:
            middle = np.concatenate([x, y]).mean(axis=0)
            x, y = x - middle, y - middle
        self._a, self._b = _unit(x), _unit(y)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of both."""
        return len(self._a), len(self._b)

    def block(self, start: int, stop: int) -> Floats:
        """Return the cosines of rows `start` to `stop` with all columns."""
        found: Floats = self._a[start:stop] @ self._b.T
        return found

    def pairs(self, rows: Ints, columns: Ints) -> Floats:
        """Return the cosines of given pairs of row and column."""
        found: Floats = np.einsum("id,id->i", self._a[rows], self._b[columns])
        return found

    def broken(self, seed: int) -> DirectionCosine:
        """One permutation of the dimensions of `b`, the same for all its rows."""
        order = np.random.default_rng(seed).permutation(self._b.shape[1])
        return DirectionCosine(self._a, self._b[:, order])


class ActivationCorrelation:
    """Pearson correlation of activations over tokens, from sparse matrices; silence is 0.

    r = (E[xy] - E[x] E[y]) / (s_x s_y). A latent that never fires, or always equally, has correlation 0.

    Args:
        a, b: scipy sparse arrays [latents, tokens] over the same tokens.
    """

    def __init__(self, a: Any, b: Any) -> None:
        from scipy.sparse import csr_array

        self._a, self._b = csr_array(a, dtype=np.float64), csr_array(b, dtype=np.float64)
        if self._a.shape[1] != self._b.shape[1]:
            raise ValueError(f"activations over {self._a.shape[1]} and {self._b.shape[1]} tokens cannot be correlated.")
        self._n = self._a.shape[1]
        self._of_a, self._of_b = _moments(self._a), _moments(self._b)

    @property
    def shape(self) -> tuple[int, int]:
        """Latents of both."""
        return self._a.shape[0], self._b.shape[0]

    def block(self, start: int, stop: int) -> Floats:
        """Return the correlations of rows `start` to `stop` with all columns."""
        products = (self._a[start:stop] @ self._b.T).toarray() / self._n
        (mean_a, sd_a), (mean_b, sd_b) = self._of_a, self._of_b
        covariance = products - mean_a[start:stop, None] * mean_b
        return _ratio(covariance, sd_a[start:stop, None] * sd_b)

    def pairs(self, rows: Ints, columns: Ints) -> Floats:
        """Return the correlations of given pairs of row and column."""
        products = np.asarray(self._a[rows].multiply(self._b[columns]).sum(axis=1)).ravel() / self._n
        (mean_a, sd_a), (mean_b, sd_b) = self._of_a, self._of_b
        return _ratio(products - mean_a[rows] * mean_b[columns], sd_a[rows] * sd_b[columns])

    def broken(self, seed: int) -> ActivationCorrelation:
        """Tokens of `b` shifted in a circle by a drawn distance: each latent keeps its rate and its runs."""
        from scipy.sparse import csr_array

        shift = int(np.random.default_rng(seed).integers(self._n // 4, max(self._n - self._n // 4, self._n // 4 + 1)))
        columns = (self._b.indices.astype(np.int64) + shift) % self._n
        moved = csr_array((self._b.data, columns, self._b.indptr), shape=self._b.shape)
        return ActivationCorrelation(self._a, moved)


@dataclass(frozen=True)
class Matching:
    """One-to-one pairs.

    Attributes:
        rows: ascending [k].
        columns: partner of each [k].
        scores: similarity of each pair [k].
        shape: rows and columns that there were.
    """

    rows: Ints
    columns: Ints
    scores: Floats
    shape: tuple[int, int]

    @property
    def per_row(self) -> Floats:
        """Similarity of every row to its partner [n]; 0 for a row without one."""
        found = np.zeros(self.shape[0])
        found[self.rows] = self.scores
        return found

    @property
    def mean(self) -> float:
        """Mean over the pairs that there can be at most, min(n, m); pairs that were not made count 0."""
        most = min(self.shape)
        return float(self.scores.sum() / most) if most else float("nan")


def match(similarity: Similarity, dense: int = DENSE, top: int = TOP, block: int = BLOCK) -> Matching:
    """The one-to-one matching with the largest sum of similarities (Hungarian method).

    Args:
        similarity: of the two sets.
        dense: entries up to which the whole matrix is used; then every row or every column has a partner.
        top: above that, nearest columns of each row that may be its partner. A row may stay alone, so only positive
            similarities are matched.
        block: rows computed at a time.
    """
    from scipy.optimize import linear_sum_assignment

    n, m = similarity.shape
    if n * m > dense:
        return _match_sparse(similarity, min(top, m), block)
    whole = np.concatenate([similarity.block(i, min(i + block, n)) for i in range(0, n, block)] or [np.zeros((0, m))])
    rows, columns = linear_sum_assignment(whole, maximize=True)
    return Matching(rows.astype(np.int64), columns.astype(np.int64), whole[rows, columns], (n, m))


def _match_sparse(similarity: Similarity, top: int, block: int) -> Matching:
    """Matching on the graph of each row's nearest columns. Every row also has a column of its own that means "alone"."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n, m = similarity.shape
    rows, columns, weights = [], [], []
    for start in range(0, n, block):
        part = similarity.block(start, min(start + block, n))
        near = np.argpartition(-part, top - 1, axis=1)[:, :top]
        values = np.take_along_axis(part, near, axis=1)
        row, place = np.nonzero(values > 0)
        rows.append(row + start)
        columns.append(near[row, place])
        weights.append(values[row, place])
    alone = np.arange(n)
    row, column = np.concatenate([*rows, alone]), np.concatenate([*columns, m + alone])
    # A weight of 0 would be no edge. Every row has exactly one partner, so adding 1 to all weights changes nothing else.
    weight = np.concatenate([*weights, np.zeros(n)]) + 1
    found_rows, found = min_weight_full_bipartite_matching(csr_array((weight, (row, column)), shape=(n, m + n)), True)
    paired = found < m
    r, c = found_rows[paired].astype(np.int64), found[paired].astype(np.int64)
    return Matching(r, c, similarity.pairs(r, c), (n, m))


def assignment_null(similarity: Similarity, seed: int, draws: int = 200) -> Floats:
    """Mean similarity of random one-to-one assignments [draws]."""
    n, m = similarity.shape
    k = min(n, m)
    rng = np.random.default_rng(seed)
    return np.array(
        [
            similarity.pairs(rng.permutation(n)[:k].astype(np.int64), rng.permutation(m)[:k].astype(np.int64)).mean()
            for _ in range(draws)
        ]
    )


def broken_null(similarity: Similarity, seed: int, draws: int = 5, dense: int = DENSE) -> Floats:
    """Similarity of every row to its partner when the relation of the two sets is broken and they are matched again.

    Returns:
        [draws, n]
    """
    return np.stack([match(similarity.broken(seed + i), dense=dense).per_row for i in range(draws)])


def redundant(scores: Floats, null: Floats, level: float = 0.95) -> float:
    """Share of latents whose partner is nearer than the `level` quantile of partners under the null.

    Args:
        scores: per row [n].
        null: per row and draw, as from `broken_null`.
    """
    return float((scores > np.quantile(null, level)).mean())


def compute_saved(overlap: float, layers: int) -> float:
    """Share of training and explaining saved by one coder wide enough for all distinct latents, instead of one per layer.

    `layers` coders of width W, each repeating a share r of its predecessor, hold W (1 + (layers - 1)(1 - r)) distinct latents.
    Cost grows with the number of latents, so those alone cost that much of layers x W: saved is r (layers - 1) / layers.

    Args:
        overlap: r, in [0, 1].
        layers: coders, at least 1.
    """
    if not 0 <= overlap <= 1 or layers < 1:
        raise ValueError(f"overlap must be in [0, 1] and layers at least 1, not {overlap} and {layers}.")
    return overlap * (layers - 1) / layers


def _unit(x: Floats) -> Floats:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)


def _moments(x: Any) -> tuple[Floats, Floats]:
    """Mean and standard deviation of every row of a sparse matrix."""
    n = x.shape[1]
    mean = np.asarray(x.sum(axis=1)).ravel() / n
    square = np.asarray(x.multiply(x).sum(axis=1)).ravel() / n
    variance = square - mean**2
    # Rounding leaves a constant row with a variance of the order of its square times the machine's precision.
    return mean, np.sqrt(np.where(variance > 1e-12 * square, variance, 0))


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
