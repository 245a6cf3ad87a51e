"""The images a study's networks classify: those to train on, those to test on."""

from __future__ import annotations

from nbtools.checks import check_range
from nbtools.data.images.folders import check_splits
from nbtools.data.images.sets import ImageSet, choose_rows, load_folder
from nbtools.data.images.views import Augmentation
from nbtools.data.study import Study


def load_training_images(source: Study, augmentation: Augmentation = "none") -> ImageSet:
    """Read the images that networks learn their classes from, validation images among them.

    Parameters
    ----------
    source : Study
        Its ``classification`` folder holds them under ``train``.
    augmentation : {"none", "shift", "crop-flip"}
        Crops are cut from images of 8/7 of the study's size, as ImageNet's are from 256 px for 224 px.

    Raises
    ------
    InputError
        If the study has no such folder, those to test on are of other classes, or as `load_folder`.
    """
    check_splits(source.need("classification"))  # before the training, not after it
    side = round(source.image_size * 8 / 7) if augmentation == "crop-flip" else source.image_size
    return load_folder(source.need("classification") / "train", side)


def load_test_images(source: Study, n: int | None = None) -> ImageSet:
    """Read the images that networks are tested on, and were never trained on.

    Parameters
    ----------
    source : Study
        Its ``classification`` folder holds them under ``val``.
    n : int, optional
        How many of them, chosen at random, the same for every network; None for all.

    Raises
    ------
    InputError
        If the study has no such folder, `n` is below 1, or as `load_folder`.
    """
    if n is not None:
        check_range("the number of test images", n, 1)
    images = load_folder(source.need("classification") / "val", source.image_size)
    return images if n is None else images[choose_rows(len(images), n)]
