"""Average high-pass Fourier spectra per generator (Ojha et al. 2023, section 3 and figure 3).

A generator's upsampling leaves a periodic trace that no single picture shows. From every picture its median-filtered
copy is subtracted; what remains is averaged over the pictures of a generator, and the Fourier transform of that average
shows the trace as bright points. Traces whose place differs from picture to picture cancel in that average: the mean of
the single pictures' amplitudes (as Wang et al. 2020 draw it) is kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigiscan.errors import InputError
from aigiscan.files import write_csv, write_json

if TYPE_CHECKING:
    from PIL.Image import Image

#: pixels: the central square that every picture must have; most generators give at least this
DEFAULT_SIZE = 128
#: pixels: window of the median filter that is subtracted
MEDIAN_WINDOW = 3


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Average spectra of one generator.

    of_mean: amplitude (size, size) of the Fourier transform of the mean residual; mean_amplitude: mean over pictures of
    the amplitude of each one's residual. Zero frequency in the centre, (size // 2, size // 2); residuals on the 0–1
    scale; amplitudes divided by size² so that they do not grow with the crop. skipped: pictures smaller than the crop.
    """

    images: int
    skipped: int
    of_mean: np.ndarray
    mean_amplitude: np.ndarray

    def radial(self) -> np.ndarray:
        """Mean of ``mean_amplitude`` over rings of one frequency step, from 0 to Nyquist: (size // 2 + 1,)."""
        size = len(self.mean_amplitude)
        y, x = np.indices((size, size)) - size // 2
        ring = np.rint(np.hypot(x, y)).astype(int)
        inside = ring <= size // 2
        sums = np.bincount(ring[inside], weights=self.mean_amplitude[inside])
        return sums / np.bincount(ring[inside])

    def peaks(self, count: int = 5) -> list[tuple[float, float, float]]:
        """The strongest local maxima of ``of_mean``: (fx, fy, height), frequencies in cycles per pixel, half plane.

        height: relative to the median of its ring's amplitudes; a periodic trace stands out by an order of magnitude.
        """
        from scipy.ndimage import maximum_filter

        size = len(self.of_mean)
        y, x = np.indices((size, size)) - size // 2
        ring = np.rint(np.hypot(x, y)).astype(int)
        medians = np.array([np.median(self.of_mean[ring == r]) for r in range(ring.max() + 1)])
        relative = self.of_mean / np.maximum(medians[ring], 1e-12)
        # A real signal's spectrum is symmetric about the centre: one half says it all.
        half = (y < 0) | ((y == 0) & (x < 0))
        local = (relative == maximum_filter(relative, size=3, mode="wrap")) & half & (ring > 1)
        places = np.argwhere(local)
        order = np.argsort(-relative[local], kind="stable")[:count]
        return [
            (float(x[i, j]) / size, float(y[i, j]) / size, float(relative[i, j])) for i, j in places[order].tolist()
        ]


def high_pass(pixels: np.ndarray) -> np.ndarray:
    """Luma (h, w) on the 0–1 scale → the picture minus its median-filtered copy, same shape."""
    from scipy.ndimage import median_filter

    return pixels - median_filter(pixels, size=MEDIAN_WINDOW, mode="reflect")


def central_luma(image: Image, size: int) -> np.ndarray | None:
    """The central ``size`` × ``size`` pixels at native resolution as luma 0–1; None if the picture is smaller."""
    width, height = image.size
    if min(width, height) < size:
        return None
    left, top = (width - size) // 2, (height - size) // 2
    crop = image.crop((left, top, left + size, top + size)).convert("L")
    return np.asarray(crop, dtype=np.float64) / 255


def average_spectra(images: Iterable[tuple[str, Image]], *, size: int = DEFAULT_SIZE) -> dict[str, Spectrum]:
    """(generator, RGB picture) pairs → generator → :class:`Spectrum`; one pass, one picture in memory.

    Name photographs ``"real"``. A generator none of whose pictures is large enough is not in the result.
    Raises InputError for a size below 16.
    """
    if size < 16:
        raise InputError(f"spectra of {size} pixels show nothing; take at least 16")
    sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    counts: dict[str, list[int]] = {}
    for name, image in images:
        count = counts.setdefault(name, [0, 0])
        luma = central_luma(image, size)
        if luma is None:
            count[1] += 1
            continue
        residual = high_pass(luma)
        mean, amplitude = sums.setdefault(name, (np.zeros((size, size)), np.zeros((size, size))))
        mean += residual
        amplitude += np.abs(np.fft.fft2(residual))
        count[0] += 1
    result = {}
    for name, (mean, amplitude) in sums.items():
        n, skipped = counts[name]
        of_mean = np.abs(np.fft.fftshift(np.fft.fft2(mean / n))) / size**2
        result[name] = Spectrum(n, skipped, of_mean, np.fft.fftshift(amplitude / n) / size**2)
    return result


def write_spectra(
    out: Path, spectra: Mapping[str, Spectrum], *, skipped: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Write ``spectra.png`` (figure 3), ``spectra.csv`` (radial profiles), ``spectra.json`` (peaks); return the JSON.

    Reals first, then generators by name. skipped: pictures of generators that could not be read, added to the counts.
    """
    if not spectra:
        raise InputError("no picture was large enough for a spectrum; give a smaller size")
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    names = sorted(spectra, key=lambda name: (name != "real", name))
    size = len(spectra[names[0]].of_mean)
    across = min(len(names), 6)
    down = -(-len(names) // across)
    figure = Figure(figsize=(2.3 * across, 2.5 * 2 * down), layout="constrained")
    axes = figure.subplots(2 * down, across, squeeze=False)
    for cell in axes.ravel():
        cell.axis("off")
    for i, name in enumerate(names):
        row, column = divmod(i, across)
        for k, (what, values) in enumerate(
            (("of the mean", spectra[name].of_mean), ("mean amplitude", spectra[name].mean_amplitude))
        ):
            cell = axes[2 * row + k, column]
            shown = np.log10(values + 1e-9)
            # Each picture has its own scale: the pattern matters, and averages over more pictures are fainter.
            low, high = np.percentile(shown, [5, 99.9])
            cell.imshow(shown, cmap="magma", vmin=low, vmax=max(high, low + 1e-6))
            cell.set_title(f"{name} (n = {spectra[name].images})\n{what}", fontsize=7)
    figure.savefig(out / "spectra.png", dpi=120)
    result = {
        "size": size,
        "generators": {
            name: {
                "images": spectra[name].images,
                "skipped": spectra[name].skipped + (skipped or {}).get(name, 0),
                "peaks": [
                    {"fx": round(fx, 5), "fy": round(fy, 5), "height": round(height, 2)}
                    for fx, fy, height in spectra[name].peaks()
                ],
            }
            for name in names
        },
    }
    write_json(out / "spectra.json", result)
    rows = (
        (name, f"{ring / size:.5f}", f"{value:.6g}")
        for name in names
        for ring, value in enumerate(spectra[name].radial())
    )
    write_csv(out / "spectra.csv", ["generator", "frequency", "amplitude"], rows)
    return result
