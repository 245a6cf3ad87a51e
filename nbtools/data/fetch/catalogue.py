"""Where the data of the studies are, and on which terms: addresses in, `Remote` files out. Nothing is fetched here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nbtools.checks import check_choice
from nbtools.data.brains import tvsd
from nbtools.data.brains.design import subject_folder
from nbtools.data.brains.nsd import BETA_VERSION, SPACE
from nbtools.data.fetch.remote import Remote
from nbtools.data.kinds import kinds_by_name
from nbtools.errors import InputError

NSD = "https://natural-scenes-dataset.s3.amazonaws.com"
# Image sets that come in one archive: the address of its folder, its name, its digest if one is published.
ARCHIVES = {
    # <shape>/<shape>4-<texture>3.png, 1280 images
    "cue-conflict": ("https://github.com/bethgelab/model-vs-human/releases/download/v0.1", "cue-conflict.tar.gz", None),
    # train.bin and test.bin; the version for Python is a pickle
    "cifar-100": (
        "https://www.cs.toronto.edu/~kriz",
        "cifar-100-binary.tar.gz",
        "md5:03b5dce01913d631647c71ecec9e9cb8",
    ),
}
TVSD = "https://gin.g-node.org/paolo_papale/TVSD/raw/master"
# What lies under a number, not a name, where it is published; a mirror has it under the name.
NUMBERED = {
    "images_THINGS.zip": "https://osf.io/download/rdxy2",
    "category53_long-format.tsv": "https://osf.io/download/vehr3",
    "betas_csv.zip": "https://plus.figshare.com/ndownloader/files/36789690",
}
ATLASES = (
    *("Kastner2015", "nsdgeneral", "prf-visualrois", "streams"),
    *("floc-faces", "floc-places", "floc-bodies", "floc-words"),
)
# Of subjects 1 to 8. The last three sessions of each were held back until 20 August 2023.
N_SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)

TERMS = {
    "nsd": """\
Natural Scenes Dataset. Agree to its terms and fill in its access form first: https://naturalscenesdataset.org
Research and education only; not to be passed on or sold; nobody may try to find out who the subjects are.
Cite: Allen et al. (2022), A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial
intelligence, Nature Neuroscience 25, 116-126, https://doi.org/10.1038/s41593-021-00962-x""",
    "stimuli": """\
NSD's stimuli. The terms of the Natural Scenes Dataset apply: https://naturalscenesdataset.org
The images are cut from COCO's (https://cocodataset.org), each under the licence its photographer chose.
Cite: Allen et al. (2022) as for the data; Lin et al. (2014), Microsoft COCO: common objects in context, ECCV.""",
    "cue-conflict": """\
Cue-conflict images, as released with model-vs-human: https://github.com/bethgelab/model-vs-human
Licence: CC BY 4.0, https://github.com/rgeirhos/texture-vs-shape/blob/master/DATASET_LICENSE
Cite: Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture; increasing shape bias improves
accuracy and robustness, ICLR, https://openreview.net/forum?id=Bygh9j09KX""",
    "cifar-100": """\
CIFAR-100: https://www.cs.toronto.edu/~kriz/cifar.html. No licence is stated there; citation is asked for.
Cite: Krizhevsky (2009), Learning multiple layers of features from tiny images, technical report.""",
    "tvsd": """\
THINGS Ventral Stream Spiking Dataset: electrodes in V1, V4 and IT of two macaques. No form; what its authors ask for
stands beside the data: https://gin.g-node.org/paolo_papale/TVSD
Cite: Papale, Wang, Self & Roelfsema (2025), An extensive dataset of spiking activity to reveal the syntax of the
ventral stream, Neuron 113, https://doi.org/10.1016/j.neuron.2024.12.003""",
    "things-fmri": """\
THINGS-fMRI: single-trial responses of three people. Licence: CC0.
Cite: Hebart et al. (2023), THINGS-data, a multimodal collection of large-scale datasets for investigating object
representations in human brain and behavior, eLife 12:e82580, https://doi.org/10.7554/eLife.82580""",
    "things": """\
THINGS object images: https://osf.io/jum2f. Research only, nothing commercial, not to be passed on: the archive's
password stands in password_images.txt there, and for these terms.
Cite: Hebart et al. (2019), THINGS: a database of 1,854 object concepts and more than 26,000 naturalistic object
images, PLoS ONE 14(10): e0223792, https://doi.org/10.1371/journal.pone.0223792""",
}
_FORM = (
    "that you filled in the access form and keep the terms above",
    "fill in the form at https://naturalscenesdataset.org, then say --agreed; --dry-run needs neither",
)
# What must have been agreed to, and what to do.
AGREEMENTS = {
    "nsd": _FORM,
    "stimuli": _FORM,
    "things": ("that you keep the terms above", "read them at https://osf.io/jum2f, then say --agreed"),
}


def nsd_files(root: Path, subject: int, *, base: str | None = None) -> list[Remote]:
    """List the design and a subject's regions: small files, needed before a session can be reduced.

    Parameters
    ----------
    root : Path
        Root of the NSD tree to be.
    subject : int
        1 to 8.
    base : str, optional
        Address of a mirror's root of NSD.

    Raises
    ------
    InputError
        If there is no such subject.
    """
    folder = f"nsddata/ppdata/{subject_folder(subject)}/{SPACE}/roi"
    rois = [f"{folder}/{atlas}.nii.gz" for atlas in ATLASES]
    return [_below(base or NSD, root, key) for key in ("nsddata/experiments/nsd/nsd_expdesign.mat", *rois)]


def nsd_sessions(
    root: Path,
    subject: int,
    sessions: Sequence[int],
    *,
    betas: str = BETA_VERSION,
    ending: Literal[".nii.gz", ".hdf5"] = ".nii.gz",
    base: str | None = None,
) -> list[Remote]:
    """List the betas of some sessions, one file each.

    Parameters
    ----------
    root : Path
        Root of the NSD tree to be.
    subject : int
        1 to 8.
    sessions : sequence of int
        Numbers from 1 to the subject's entry in `N_SESSIONS`.
    betas : str
        Version of the betas: the name of their folder.
    ending : {".nii.gz", ".hdf5"}
        The first is smaller, the second is read faster.
    base : str, optional
        Address of a mirror's root of NSD.

    Raises
    ------
    InputError
        If there is no such subject or session.
    """
    folder = f"nsddata_betas/ppdata/{subject_folder(subject)}/{SPACE}/{betas}"
    there = range(1, N_SESSIONS[subject - 1] + 1)
    if missing := [session for session in sessions if session not in there]:
        raise InputError(
            f"subject {subject} has no such session",
            expected=f"numbers from 1 to {there[-1]}",
            got=", ".join(map(str, missing)),
            fix="choose among these",
        )
    return [_below(base or NSD, root, f"{folder}/betas_session{session:02d}{ending}") for session in sessions]


def stimuli_file(root: Path, *, base: str | None = None) -> Remote:
    """Return the images shown in the scanner: one file below the root of the NSD tree."""
    return _below(base or NSD, root, "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")


def archive_file(source: str, root: Path, *, base: str | None = None) -> Remote:
    """Return the archive of a set out of `ARCHIVES`, which goes into `root`."""
    public, name, digest = ARCHIVES[source]
    return _below(base or public, root, name, digest)


def tvsd_files(root: Path, monkey: str, *, base: str | None = None) -> list[Remote]:
    """List a monkey's responses and the pictures they belong to; raise `InputError` if there is no such monkey."""
    check_choice("TVSD has no such monkey", monkey, tvsd.REGIONS)
    names = "THINGS_normMUA.mat", "_logs/things_imgs.mat"
    return [_below(base or TVSD, root, f"monkey{monkey}/{name}") for name in names]


def things_files(root: Path, *, base: str | None = None) -> tuple[Remote, Remote]:
    """Return the archive of THINGS' pictures, and the table of their categories."""
    return _numbered(base, root, "images_THINGS.zip"), _numbered(base, root, "category53_long-format.tsv")


def things_fmri_file(root: Path, *, base: str | None = None) -> Remote:
    """Return the archive of all subjects' tables."""
    return _numbered(base, root, "betas_csv.zip")


def _numbered(base: str | None, root: Path, name: str) -> Remote:
    return _below(base, root, name) if base else Remote(NUMBERED[name], root / name, kinds=kinds_by_name(name))


def _below(base: str, root: Path, key: str, digest: str | None = None) -> Remote:
    return Remote(f"{base.rstrip('/')}/{key}", root / key, digest, kinds_by_name(key))
