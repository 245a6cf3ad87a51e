"""The dorsal regions of a simulated subject: voxels and random numbers of their own beside the ventral ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nbtools.data.synthetic.anatomy import Anatomy, build_dorsal
from nbtools.data.synthetic.features import Matrix, spatial_blocks
from nbtools.data.synthetic.recipe import Settings, dorsal_regions
from nbtools.data.synthetic.subject import (
    Design,
    RegionTruth,
    Responses,
    gather_responses,
    plant_region,
    session_betas,
)


class _Apart(Settings):
    """The same study with other random numbers, so that nothing that was there before draws others."""

    def generator(self, *part: object) -> np.random.Generator:
        return super().generator("dorsal", *part)


@dataclass(frozen=True)
class Dorsal:
    """What is planted.

    Attributes
    ----------
    anatomy : Anatomy
        Of these regions alone.
    features : dict of str to (n_stimuli, n_components) array
        Blocks that only they respond to.
    regions : dict of str to RegionTruth
        What each holds.
    responses : Responses
        Of their voxels.
    settings : Settings
        Of their random numbers.
    """

    anatomy: Anatomy
    features: dict[str, Matrix]
    regions: dict[str, RegionTruth]
    responses: Responses
    settings: Settings

    def betas(self, session: int, design: Design) -> NDArray[np.int16]:
        """One session's betas: (750, z, y, x), 0 outside these regions."""
        return session_betas(session, self.anatomy, self.responses, design, self.settings)


def plant_dorsal(ventral: Anatomy, features: dict[str, Matrix], latents: pd.DataFrame, settings: Settings) -> Dorsal:
    """Plant the dorsal regions beside the ventral ones.

    Parameters
    ----------
    ventral : Anatomy
        Whose voxels are left alone.
    features : dict of str to (n_stimuli, n_components) array
        From `feature_blocks`.
    latents : DataFrame
        Of the scanner's images.
    settings : Settings
        The seed, the subject, and what is true of the world.
    """
    apart, anatomy = _Apart(**asdict(settings)), build_dorsal(ventral)
    with threadpool_limits(1):  # the number of threads changes the last bits of a matrix product
        spatial = spatial_blocks(latents)
        planted = {
            name: plant_region(name, region, features | spatial, apart)
            for name, region in dorsal_regions(settings.truth).items()
        }
    return Dorsal(anatomy, spatial, planted, gather_responses(anatomy, planted, apart), apart)
