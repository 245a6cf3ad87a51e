"""The geometry explorer without its widgets: two spaces, a pair of images, and what there is to say of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nbtools.checks import check_enough
from nbtools.errors import InputError
from nbtools.metrics.geometry.embedding import square
from nbtools.plots.brain.spaces import ranked

_COLUMNS = {
    "rdms": ("space", "first", "second", "dissimilarity"),
    "maps": ("space", "image_id", "x", "y", "stress"),
    "components": ("space", "image_id", "label", "c1", "c2", "c3", "share"),
    "manifolds": ("space", "label", "radius", "dimension"),
}


@dataclass(frozen=True)
class SpaceTables:
    """Spaces of responses and features, as the notebook leaves them; ``space`` names each row's.

    Attributes
    ----------
    rdms : DataFrame
        From `metrics.geometry.embedding.pairs`.
    maps : DataFrame
        From `metrics.geometry.embedding.image_map`, images in the order to show them.
    components : DataFrame
        From `metrics.geometry.embedding.top_components`; a space may be missing (images without classes).
    manifolds : DataFrame
        From `metrics.manifold_geometry`, of the same spaces as ``components``.

    Raises
    ------
    InputError
        If a table lacks a column, or there are fewer than two spaces.
    """

    rdms: pd.DataFrame
    maps: pd.DataFrame
    components: pd.DataFrame
    manifolds: pd.DataFrame

    def __post_init__(self) -> None:
        for name, columns in _COLUMNS.items():
            missing = [column for column in columns if column not in getattr(self, name)]
            if missing:
                raise InputError(
                    f"the table {name} cannot be explored",
                    expected=", ".join(columns),
                    got=f"without {', '.join(missing)}",
                    fix="use the tables of notebook 14",
                )
        check_enough("there are no two spaces to compare", len(self.spaces), 2, fix="add a network")

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the spaces, in their order."""
        return tuple(dict.fromkeys(self.rdms["space"]))

    @property
    def image_ids(self) -> np.ndarray:
        """The images of the RDMs, in the order to show them: (n_images,)."""
        return self.maps.loc[self.maps["space"] == self.spaces[0], "image_id"].to_numpy()

    def of(self, name: str, space: str) -> pd.DataFrame:
        """Return one space's rows of a table."""
        table = getattr(self, name)
        return table[table["space"] == space]

    def rdm(self, space: str) -> np.ndarray:
        """Return one space's RDM (n_images, n_images)."""
        return square(self.of("rdms", space), self.image_ids)


@dataclass(frozen=True)
class GeometryState:
    """What is chosen: two spaces, and two images by their places in `SpaceTables.image_ids`."""

    left: str
    right: str
    first: int = 0
    second: int = 1


def first_state(tables: SpaceTables) -> GeometryState:
    """Begin with the first space, the last, and the two images most alike in the first."""
    distances = tables.rdm(tables.spaces[0]) + np.diag(np.full(len(tables.image_ids), np.inf))
    first, second = np.unravel_index(distances.argmin(), distances.shape)
    return GeometryState(tables.spaces[0], tables.spaces[-1], int(first), int(second))


def pick_pair(tables: SpaceTables, state: GeometryState, first: float, second: float) -> GeometryState:
    """Choose two images; places outside the RDM are moved to its rim."""
    top = len(tables.image_ids) - 1
    a, b = (min(max(round(place), 0), top) for place in (first, second))
    return replace(state, first=a, second=b)


def notes(tables: SpaceTables, classes: dict[object, str]) -> list[str]:
    """Return what is said of each image: its place, its id and, where it is known, its class."""
    return [
        f"{place}: image {image}" + (f", {classes[image]}" if image in classes else "")
        for place, image in enumerate(tables.image_ids)
    ]


def describe_pair(tables: SpaceTables, state: GeometryState) -> str:
    """Say in words how alike the two images are in both spaces."""
    a, b = state.first, state.second
    ids = tables.image_ids
    if a == b:
        return f"Image {ids[a]} and itself: choose two different images."
    said = []
    for space in dict.fromkeys((state.left, state.right)):
        rdm = tables.rdm(space)
        said.append(f"{rdm[a, b]:.2f} in {space}, more than {ranked(rdm)[a, b]:.0%} of the pairs")
    return f"Dissimilarity (1 − r) of images {ids[a]} and {ids[b]}: {'; '.join(said)}."


def describe_spaces(tables: SpaceTables, state: GeometryState) -> str:
    """Say in words what RDMs and maps show."""
    left, right = (tables.of("rdms", space)["dissimilarity"] for space in (state.left, state.right))
    rho = left.rank().corr(right.reset_index(drop=True).set_axis(left.index).rank())
    stress = [f"{tables.of('maps', space)['stress'].iloc[0]:.2f} ({space})" for space in (state.left, state.right)]
    n = len(tables.image_ids)
    return (
        f"Above, the dissimilarity of every pair of {n} images in {state.left} and in {state.right}: dark is alike. "
        f"The two agree with Spearman ρ = {rho:z.2f}. Below, the images laid out so that distance follows "
        f"dissimilarity, as well as a plane allows: stress {' and '.join(stress)}, 0 being perfect."
    )


def manifold_table(tables: SpaceTables, state: GeometryState) -> pd.DataFrame:
    """Return radius and dimension of each class in both spaces, and their means; no row where classes are not known."""
    spaces = [s for s in dict.fromkeys((state.left, state.right)) if len(tables.of("manifolds", s))]
    if not spaces:
        return pd.DataFrame()
    parts = [tables.of("manifolds", s).set_index("label")[["radius", "dimension"]] for s in spaces]
    wide = pd.concat(parts, axis=1, keys=spaces)
    wide.loc["mean"] = wide.mean()
    wide.columns = [f"{space}: {measure}" for space, measure in wide.columns]
    return wide.rename_axis("class").reset_index()
