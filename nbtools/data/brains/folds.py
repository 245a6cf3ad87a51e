"""Which images of a region must not be parted when a fit is cross-validated."""

from __future__ import annotations

import numpy as np

from nbtools.data.brains.responses import IntArray, RoiTrials, trials_of


def fold_groups(trials: RoiTrials, image_ids: IntArray) -> IntArray:
    """Group images by the sessions (or runs) that showed them: what was measured together shares drift and noise.

    Parameters
    ----------
    trials : RoiTrials
        Their ``image_ids`` and ``sessions`` are used.
    image_ids : (n_images,) int
        The images to be fitted, each once.

    Returns
    -------
    (n_images,) int
        The group of each image. Images of one session are of one group, and so are sessions that share an image. Where
        that joins all sessions, as in NSD, whose repeats lie in different ones, sessions cannot be kept apart: each
        image is then a group of its own, with all its repeats.

    Raises
    ------
    InputError
        If no trial shows these images.
    """
    from scipy.sparse import coo_array  # imports slowly
    from scipy.sparse.csgraph import connected_components

    shown = trials_of(trials, image_ids)
    images, of_image = np.unique(shown.image_ids, return_inverse=True)
    n_images, n = len(images), len(images) + shown.sessions.max() + 1
    links = coo_array((np.ones(len(of_image)), (of_image, n_images + shown.sessions)), shape=(n, n))
    groups = connected_components(links, directed=False)[1][np.searchsorted(images, image_ids)]
    return groups if len(np.unique(groups)) > 1 else np.arange(len(image_ids))
