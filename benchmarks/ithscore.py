"""ITHscore of a lesion, as a comparator of DHI.

After Li et al. (European Radiology 2022): local features of every pixel, clustered into six kinds
of tissue; the score is 1 - (1/N) sum_k S_k / n_k, with S_k the largest connected piece of kind k,
n_k its number of pieces and N the pixels. As there: on the slice of largest area, features scaled
to 0-1 within the tumour, kinds found anew in each scan. Otherwise: five first-order features of a 5
x 5 window instead of 57 of 7 x 7, and a seeded k-means.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label, maximum_filter, minimum_filter, uniform_filter

KINDS = 6
WINDOW = 5


def ithscore(values, mask):
    """Score of a scan in HU and its mask (z, y, x).

    None where the slice has fewer pixels than kinds.
    """
    from sklearn.cluster import KMeans

    z = int(mask.sum(axis=(1, 2)).argmax())
    pixels = mask[z]
    if pixels.sum() < KINDS:
        return None
    features = local_features(values[z].astype(float))[:, pixels].T
    spread = np.ptp(features, axis=0)
    scaled = (features - features.min(axis=0)) / np.where(spread > 0, spread, 1)
    kinds = np.zeros(pixels.shape, dtype=int)
    kinds[pixels] = 1 + KMeans(KINDS, n_init=3, random_state=0).fit_predict(scaled)
    return 1 - sum(_largest_over_number(kinds == k) for k in range(1, KINDS + 1)) / int(
        pixels.sum()
    )


def local_features(plane):
    """Density, and mean, standard deviation, minimum and maximum of its window."""
    mean = uniform_filter(plane, WINDOW)
    sd = np.sqrt(np.clip(uniform_filter(plane**2, WINDOW) - mean**2, 0, None))
    return np.stack([plane, mean, sd, minimum_filter(plane, WINDOW), maximum_filter(plane, WINDOW)])


def _largest_over_number(kind):
    pieces, n = label(kind)
    return np.bincount(pieces.ravel())[1:].max() / n if n else 0.0
