"""How an embedding fills its space: mean cosine similarity, IsoScore and a t-SNE map.

Gaintseva et al., appendix A.5 and figure 6: after the removal of harmful components the embedding of CLIP becomes more
isotropic. Cosine similarity as in Timkey and van Schijndel (2021), IsoScore as in Rudman et al. (2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.errors import InputError
from aigiscan.files import write_csv, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: t-SNE is quadratic in memory for its neighbours; more points than this make no clearer picture
TSNE_MAX_POINTS = 3000


@dataclass(frozen=True, slots=True)
class Geometry:
    """Shape of one cloud of embeddings.

    mean_cosine: mean cosine similarity over all pairs of different images, −1 to 1 (1: a single ray). isoscore: 0 (a
    line) to 1 (all dimensions used alike), as published; it rises with the number of images and as columns get fewer.
    corrected: IsoScore without that (:func:`isoscore_corrected`). dimensions_used: the number of dimensions that a
    cloud with this corrected IsoScore uses uniformly, 1 to d.
    """

    images: int
    dimensions: int
    mean_cosine: float
    isoscore: float
    corrected: float
    dimensions_used: float


def mean_cosine(X: np.ndarray) -> float:
    """Mean cosine similarity over all pairs of different rows of X (n, d).

    Exact and linear in n: with unit rows u_i, Σ_{i≠j} u_i·u_j = ‖Σ u_i‖² − n. Rows of zeros count as orthogonal to all.
    Raises InputError for fewer than two rows.
    """
    rows = np.asarray(X, dtype=np.float64)
    if len(rows) < 2:
        raise InputError("geometry needs at least two images")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)  # [n, d]
    n = len(rows)
    total = float(np.square(unit.sum(axis=0)).sum() - np.square(unit).sum())
    return total / (n * (n - 1))


def isoscore(X: np.ndarray) -> float:
    """IsoScore of the cloud X (n, d): 1 isotropic, 0 a line, (k − 1)/(d − 1) for k dimensions used alike.

    Rudman et al. (2022), algorithm 1: rotate to principal axes, take the variances λ, scale them to norm √d, measure
    the distance δ to (1, …, 1) relative to its largest value √(2(d − √d)), φ = (d − δ²(d − √d))²/d², and map φ from
    [1/d, 1] to [0, 1]. With ‖λ̂‖ = √d, δ²(d − √d) = d − Σλ̂, so φ = (Σλ)²/(d Σλ²): a ratio of the trace and the
    Frobenius norm of the covariance, for which no rotation has to be computed. Unchanged by rotation, translation
    and scaling.

    Raises InputError for fewer than two rows, fewer than two columns, or a cloud that is a single point.
    """
    trace2, frobenius2 = _moments(X)
    d = np.shape(X)[1]
    return float((trace2 / frobenius2 - 1) / (d - 1))


def isoscore_corrected(X: np.ndarray) -> float:
    """IsoScore of the space that the cloud X (n, d) was drawn from, 0 to 1, whatever n is.

    The published score takes the covariance of the sample for that of the space: isotropic noise of 1,000 images in 768
    dimensions scores 0.56, in 47 of its columns 0.95. With m = n − 1 and S the sample covariance,
    E tr S² = (1 + 1/m) tr Σ² + (tr Σ)²/m and E (tr S)² = (tr Σ)² + 2 tr Σ²/m for normal clouds; solved for both, they
    give estimates without bias of what the score is made of (Srivastava, "Some tests concerning the covariance matrix
    in high dimensional data", Journal of the Japan Statistical Society 2005, section 2). Errors as :func:`isoscore`,
    and for fewer than three rows.
    """
    trace2, frobenius2 = _moments(X)
    n, d = np.shape(X)
    m = n - 1.0
    if m < 2:
        raise InputError("IsoScore needs at least three images")
    frobenius2 = m * m / ((m - 1.0) * (m + 2.0)) * (frobenius2 - trace2 / m)
    trace2 -= 2.0 * frobenius2 / m
    if frobenius2 <= 0:
        return 1.0  # as even as can be told from so few images
    return float(np.clip((trace2 / frobenius2 - 1.0) / (d - 1.0), 0.0, 1.0))


def _moments(X: np.ndarray) -> tuple[float, float]:
    """(tr S)² and tr S² of the sample covariance S."""
    rows = np.asarray(X, dtype=np.float64)
    n, d = rows.shape
    if n < 2 or d < 2:
        raise InputError("IsoScore needs at least two images and two columns")
    centred = rows - rows.mean(axis=0)
    # The smaller of the two Gram matrices has the same trace and Frobenius norm.
    gram = centred.T @ centred if d <= n else centred @ centred.T
    trace, frobenius2 = float(np.trace(gram)), float(np.square(gram).sum())
    if trace <= 1e-24 * float(np.square(rows).sum()) or frobenius2 == 0.0:
        raise InputError("IsoScore is not defined: all embeddings are the same")
    return trace * trace / (n - 1.0) ** 2, frobenius2 / (n - 1.0) ** 2


def geometry_of(X: np.ndarray) -> Geometry:
    """All measures of one cloud X (n, d)."""
    corrected = isoscore_corrected(X)
    n, d = X.shape
    return Geometry(n, d, mean_cosine(X), isoscore(X), corrected, 1 + corrected * (d - 1))


def geometry_of_random_columns(X: np.ndarray, width: int, *, draws: int = 20, seed: int = 0) -> Geometry:
    """The mean measures of ``draws`` random subsets of ``width`` columns of X: what a removal that knows nothing does.

    Subsets that cannot be measured (constant columns) are left out; InputError if none can.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        chosen = X[:, np.sort(rng.choice(X.shape[1], width, replace=False))]
        if np.ptp(chosen, axis=0).max() > 0:
            found.append(geometry_of(chosen))
    if not found:
        raise InputError("IsoScore is not defined: all embeddings are the same")

    def mean(name: str) -> float:
        return float(np.mean([getattr(g, name) for g in found]))

    measures = (mean(name) for name in ("mean_cosine", "isoscore", "corrected", "dimensions_used"))
    return Geometry(len(X), width, *measures)


def tsne(X: np.ndarray, *, seed: int = 0, max_points: int = TSNE_MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """A two-dimensional t-SNE map of X (n, d) in cosine distance.

    Returns (rows, points): the rows shown (all, or a seeded sample of ``max_points``), and their places (k, 2).
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = np.arange(len(X))
    if len(rows) > max_points:
        rows = np.sort(np.random.default_rng(seed).choice(len(X), max_points, replace=False))
    if len(rows) < 4:
        raise InputError(f"a t-SNE map needs at least four images, there are {len(rows)}")
    perplexity = min(30.0, (len(rows) - 1) / 3)
    shown = np.asarray(X, dtype=np.float64)[rows]
    norms = np.linalg.norm(shown, axis=1, keepdims=True)
    # On the unit sphere Euclidean distance orders pairs as cosine distance does, and PCA can start the map.
    shown = np.divide(shown, norms, out=np.zeros_like(shown), where=norms > 0)
    model = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed)
    # For few points threads cost more than they give: on a busy machine they wait for each other.
    with threadpool_limits(1 if len(rows) < 1000 else None):
        return rows, np.asarray(model.fit_transform(shown), dtype=np.float64)


def write_geometry(
    out: Path,
    X: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    generators: Sequence[str] | np.ndarray,
    *,
    kept: Sequence[int] | np.ndarray | None = None,
    paths: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write ``geometry.json``, ``tsne.csv`` and ``tsne.png`` into ``out`` and return the JSON.

    X: embeddings (n, d). labels: 0 real, 1 fake, −1 unknown. generators: a name for each row, empty for photographs.
    kept: the columns that a search left, to compare the cloud before and after the removal (paper 000, figure 6), and
    with as many columns taken at random: fewer columns look more even by themselves.
    The table has a row for all images, one for the reals, and one for each generator with its fakes alone.
    """
    out.mkdir(parents=True, exist_ok=True)
    labels = np.asarray(labels)
    names = np.array([str(name) for name in generators], dtype=object)
    clouds = {"all": X} if kept is None else {"before removal": X, "after removal": X[:, np.asarray(kept)]}
    measured = {**clouds, **({} if kept is None else {"random columns, as many": X})}
    subsets = {"all images": np.ones(len(X), dtype=bool), "real": labels == 0}
    subsets |= {name: (labels == 1) & (names == name) for name in sorted({n for n in names[labels == 1] if n})}
    rows: list[dict[str, Any]] = []
    for cloud_name, cloud in measured.items():
        for subset_name, mask in subsets.items():
            # Of fewer images than three there is no cloud; such a subset has no row rather than a made-up one.
            if mask.sum() < 3 or cloud.shape[1] < 2 or np.ptp(cloud[mask], axis=0).max() == 0:
                continue
            shape = (
                geometry_of(cloud[mask])
                if cloud_name in clouds
                else geometry_of_random_columns(cloud[mask], len(np.asarray(kept)), seed=seed)
            )
            rows.append({"columns": cloud_name, "subset": subset_name, **asdict(shape)})
    result = {"rows": rows}
    write_json(out / "geometry.json", result)
    if len(X) >= 4:
        _write_tsne(out, clouds, labels, names, paths, seed)
    return result


def _write_tsne(
    out: Path,
    clouds: dict[str, np.ndarray],
    labels: np.ndarray,
    names: np.ndarray,
    paths: Sequence[str] | np.ndarray | None,
    seed: int,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5 * len(clouds)), layout="constrained")
    axes = figure.subplots(len(clouds), 2, squeeze=False)
    table: list[list[Any]] = []
    label_names = np.array([{0: "real", 1: "fake"}.get(int(label), "unknown") for label in labels], dtype=object)
    generator_names = np.where((labels == 1) & (names == ""), "fake, generator unknown", names)
    generator_names = np.where(labels == 0, "real", generator_names)
    for (cloud_name, cloud), (left, right) in zip(clouds.items(), axes, strict=True):
        shown, points = tsne(cloud, seed=seed)
        _scatter(left, points, label_names[shown], f"t-SNE by label ({cloud_name})")
        _scatter(right, points, generator_names[shown], f"t-SNE by generator ({cloud_name})")
        for row, (x, y) in zip(shown, points, strict=True):
            path = "" if paths is None else str(paths[row])
            table.append([cloud_name, int(row), path, label_names[row], generator_names[row], round(x, 4), round(y, 4)])
    figure.savefig(out / "tsne.png", dpi=110)
    write_csv(out / "tsne.csv", ["columns", "row", "path", "label", "generator", "x", "y"], table)


def _scatter(axes: Axes, points: np.ndarray, groups: np.ndarray, title: str) -> None:
    from matplotlib import colormaps

    present = sorted(set(groups), key=lambda name: (name != "real", name))
    palette = colormaps["tab20" if len(present) > 10 else "tab10"]
    for i, name in enumerate(present):
        mask = groups == name
        # Reals stay grey and small, so that the generators are what is seen.
        colour = "0.6" if name == "real" else palette(i % palette.N)
        marker = "o" if name == "real" else "^vsDPX*"[(i // palette.N) % 7]
        axes.scatter(points[mask, 0], points[mask, 1], s=12, color=colour, marker=marker, label=name, linewidths=0)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize=6, ncols=1 + len(present) // 25, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
