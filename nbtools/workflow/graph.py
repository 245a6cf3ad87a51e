"""The study as a graph: every notebook run it takes, and which runs each waits for. The Snakefile makes rules of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

from nbtools.conditions import DECAYS, MATCHED, Condition, baselines, dosed, nsd_regions, parse_condition
from nbtools.data.images.folders import SPLITS, subfolders
from nbtools.data.study import open_study, study_name
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.guides import is_region, spelled, unguided
from nbtools.runs import folders
from nbtools.runs.asked import check_readouts
from nbtools.runs.lineage import ATTACKED, CLOUDS, COMPARED, NETWORKS, PREDICTORS, START, trunk_of
from nbtools.workflow.config import Config, check_attacked, check_config, is_simulated, number, once, read_row, words
from nbtools.workflow.jobs import SUMMARY, Graph, Job
from nbtools.workflow.needs import SPLIT, TEST_SET, lacking
from nbtools.workflow.to_come import to_come

SEEDS = (0, 1, 2)  # as few as tell networks apart from luck
HARDENED = ("at-4", "gauss-0.1")  # beside plain training: on attacked images, on noisy ones
FILTERED = ("lowpass-8", "channel-8")  # on images without their high frequencies, of one octave alone
_MEASURED = {"design", "responses", "stimuli", TEST_SET, SPLIT}  # every study has these, or will


def make_graph(config: Config) -> Graph:
    """Plan every run of a study; nothing is run, and the study's data need not be there.

    Parameters
    ----------
    config : mapping
        What the study's file says (`KEYS`), such as `read_config` returns it or Snakemake hands it over.

    Raises
    ------
    InputError
        If a key, a condition, a read-out, an attack, a parameter or a further study does not exist, or a value cannot
        be read.
    """
    return _Planner(config).graph()


class _Planner:
    """Plans the jobs of one study; a job that several want is planned once."""

    def __init__(self, config: Config):
        self.source = check_config(config)
        self.config, self.jobs, self.left_out = config, dict[Path, Job](), dict[str, list[str]]()
        self.study = str(config.get("study", "demo"))
        self.settings = config.get("settings") or {}
        self.alpha = number(self._setting(NETWORKS, "alpha"), "alpha", float)
        self.attacks = words(self._setting(ATTACKED, "attacks"), "attacks")
        self.hierarchy = self.source.hierarchy if self.source else to_come(self.study).regions
        self.regions = self._region_names()
        self.rois = self._words("rois", self.hierarchy)
        self.seeds = [number(seed, "seeds", int) for seed in self._words("seeds", SEEDS)]
        controls = [name for name in baselines(self.rois) if name not in MATCHED]
        self.conditions = self._with_data([*self._words("controls", controls), *self.rois])
        # What `study` adds: further controls, and other weights of guidance for the first and the last region.
        self.every = self._with_data([*self._words("further", [*MATCHED, *DECAYS]), *self.conditions])
        self.decays = [name for name in self.every if self._condition(name).kind == "decay"]
        self.ends = once([self.rois[0], self.rois[-1]])
        further = [number(value, "alphas", float) for value in self._words("alphas", [0.35, 0.65])]
        self.alphas = sorted({self.alpha, *further})

    def graph(self) -> Graph:
        wanted = {"all": self._demo(), "attacks": self._all(self._attack, self.conditions)}
        wanted |= {"study": self._analyses() + self._rows(), "explorers": self._explorers()}
        self.jobs = {record: job for record, job in self.jobs.items() if self._has_data(job.notebook, job.study)}
        planned = [(job.notebook, job.parameters) for job in self.jobs.values()]
        check_attacked(planned, self.attacks, words(self._setting(ATTACKED, "epsilons"), "epsilons"))
        targets = {target: self._with_upstream(records) & self.jobs.keys() for target, records in wanted.items()}
        networks = [str(job.parameters["roi"]) for job in self.jobs.values() if job.notebook == NETWORKS]
        conditions = [self._condition(name) for name in once([*self.every, *networks])]
        guides = once(each["roi"] for condition in conditions for each in condition.predictors)
        for notebook, name, guided in ((NETWORKS, "guided_readout", conditions), (PREDICTORS, "readouts", [])):
            read = words(self._setting(notebook, name), name)
            check_readouts(self._setting(notebook, "architecture"), guided, read)
        return Graph(
            study=self.study,
            jobs=tuple(self.jobs.values()),
            targets=targets,
            rois=tuple(filter(is_region, guides)),
            source=self.source,
            profile=str(self.config.get("profile", "demo")) if is_simulated(self.study) else None,
            gpus=int(self.config.get("gpus", 0)),
            left_out=self.left_out,
        )

    # --- targets ---

    def _demo(self) -> list[Path]:
        return [self._responses(), self._summary("summary", self.conditions, self.seeds), *self._grown()]

    def _grown(self) -> list[Path]:
        """The report as it grows: a first look at the ends of the hierarchy, then all conditions, seed after seed."""
        ends = [name for name in ("none", *self.ends) if name in self.conditions]
        grown = [self._summary("first_look", ends, self.seeds[:1])]
        for n in range(1, len(self.seeds)):
            name = f"summary_seeds_{'_'.join(map(str, self.seeds[:n]))}"
            grown.append(self._summary(name, self.conditions, self.seeds[:n]))
        return grown

    def _summary(self, name: str, conditions: list[str], seeds: list[int]) -> Path:
        attacks = [self._attack(condition, seed) for condition in conditions for seed in seeds]
        compared = {**self._same(conditions), "seeds": " ".join(map(str, seeds))}
        return self._job(SUMMARY, attacks, name=name, **compared)

    def _analyses(self) -> list[Path]:
        networks, attacks = self._all(self._network, self.every), self._all(self._attack, self.every)
        compared, last, first = self._same(self.every), self.ends[-1], self.seeds[0]
        predictors = [record for roi in self.rois for seed in self.seeds for record in self._predictors(roi, seed)]
        ready = {NETWORKS: networks, ATTACKED: attacks + predictors}
        claims = {name: ready[of] for name, of in COMPARED.items() if self._has_data(name, self.study)}
        made = [self._job(notebook, after, **compared) for notebook, after in claims.items()]
        plain = [name for name in self.every if name not in self.decays]
        varied = self._over_alpha(self.ends)
        asked = {key: " ".join(self._words(key, [self._setting("12_alpha", key)])) for key in ("dose", "doses")}
        worse = folders.typed("12_alpha", asked)
        doses = self._all(self._attack, list(dosed(self.rois, worse["dose"], map(float, worse["doses"].split()))))
        shown = {
            "alphas": " ".join(map(str, self.alphas)),
            "regions": " ".join(self.rois),
            **worse,
            **self._same(self.ends),
        }
        clouds = [self._network("none", first), self._network(last, first)]
        answering = [
            self._job("12_alpha", self._all(self._attack, ["none"]) + varied + doses, **shown),
            *self._hardened(),
            self._job("21_mechanism", self._all(self._network, self.conditions), **self._same(self.conditions)),
            self._job("22_other_images", networks, **compared),
        ]
        answering += self._filtered()
        made += answering
        others = once([unguided(word) for key in ("filtered", "hardened") for word in self._ways(key)])
        asking = {
            "analyses": claims,
            "others": others,
            "questions": ["/".join(record.parts[-3:-1]) for record in answering],
        }
        joined = {name: " ".join(values) for name, values in asking.items()}
        waiting = attacks + made + self._all(self._attack, others)
        made += [
            self._responses(),
            self._job(SUMMARY, waiting, name="summary_of_all", **joined, **compared),
            self._alone("08_rsa", plain),
            self._job(CLOUDS, clouds, roi=last, alpha=self.alpha, seed=first),
            self._audit(["none", last]),
            self._job("17_natural_corruptions", networks, **compared),
            self._job("18_compare_networks", networks, roi=last, networks=compared.pop("rois"), **compared),
        ]
        return made

    def _hardened(self) -> list[Path]:
        """No guide and the last region's, each trained plainly and in every way against perturbations, if in any."""
        ways = self._ways("hardened")
        alone = [unguided(way) for way in ways]
        crossed = ["none", self.ends[-1], *(name for way in ways for name in (unguided(way), f"{self.ends[-1]}-{way}"))]
        # twice as hard, without a guide: what guided networks have is read off there at equal clean accuracy
        trained = [self._condition(name).hardened for name in alone]
        crossed = once([*crossed, *(f"none-{how[0]}-{spelled(2 * how[1])}" for how in trained if how)])
        if not ways:
            return []
        # beside them on fronts: that region over α, and weight decay
        after = [*self._all(self._attack, [*crossed, *self.decays]), *self._over_alpha([self.ends[-1]])]
        further = {"others": " ".join([self.ends[-1], *self.decays]), "alphas": " ".join(map(str, self.alphas))}
        return [self._job("19_training_and_certificates", after, **further, **self._same(crossed))]

    def _over_alpha(self, conditions: list[str]) -> list[Path]:
        return [self._attack(*how) for how in product(conditions, self.seeds, self.alphas)]

    def _filtered(self) -> list[Path]:
        """The regions beside networks without a guide that were trained on filtered images, if any were."""
        controls = ["none", *map(unguided, self._ways("filtered"))]
        if len(controls) == 1:
            return []
        after = self._all(self._network, [*controls, *self.rois])
        return [self._job("20_frequency", after, controls=" ".join(controls), **self._same(self.rois))]

    def _explorers(self) -> list[Path]:
        shown = [self._demo()[0], *self._all(self._network, ["none", *self.rois])]
        one = {"alpha": self.alpha, "seed": self.seeds[0]}
        return [
            self._alone("05_attack_explorer", ["none", self.ends[-1]]),
            self._job("14_brain_and_geometry", shown, rois=" ".join(self.rois), **one),
            self._job("15_study_explorer", self._demo(), **one),
        ]

    def _rows(self) -> list[Path]:
        """The table: a row crosses its columns; a column that is left out has the study's own value."""
        single = {"subjects": [self.study], "alphas": [self.alpha]}
        own = {"rois": self.rois, "seeds": self.seeds, "attacks": self.attacks, **single}
        records = []
        for row in self.config.get("table") or []:
            asked = {**own, **read_row(row, self.study)}
            for roi, seed, alpha, study in product(*(asked[name] for name in ("rois", "seeds", "alphas", "subjects"))):
                records.append(self._attack(roi, seed, alpha, study, *asked["attacks"]))
        return records

    # --- jobs ---

    def _responses(self) -> Path:
        own = {"rois": " ".join(self.hierarchy), **(self.settings.get("01_brain_responses") or {})}
        return self._job("01_brain_responses", name="responses", **own)

    def _predictors(self, condition: str, seed: int, study: str | None = None) -> list[Path]:
        """Plan the predictors that guide a condition's networks of a seed."""
        seed, planned = self._predictor_seed(seed), []
        for own in (part.predictor for part, _ in self._condition(condition).parts):
            of = "_".join([own["roi"], *(f"{name}-{value}" for name, value in own.items() if name != "roi")])
            name = f"predictor_{self._label(of, seed, self.alpha, study)}"
            planned.append(
                self._job(PREDICTORS, self._trunks(own, seed, study), name=name, study=study, seed=seed, **own)
            )
        return planned

    def _trunks(self, own: dict[str, Any], seed: int, study: str | None) -> list[Path]:
        """Plan the network whose features a predictor with parameters of its own takes, if it takes any."""
        usual = {**folders.defaults(PREDICTORS), **(self.settings.get(PREDICTORS) or {})}
        roi = trunk_of({**usual, **own, "study": study or self.study, "seed": seed}).get("roi")
        return [self._start(seed, study) if roi == START else self._network(roi, seed, study=study)] if roi else []

    def _predictor_seed(self, seed: int) -> int:
        return seed if self.config.get("predictors") == "own" else int(self._setting(NETWORKS, "predictor_seed"))

    def _start(self, seed: int, study: str | None = None) -> Path:
        """Plan the network with which those of a seed begin."""
        named = self._label(START, seed, self.alpha, study)
        return self._job(NETWORKS, name=f"network_{named}", study=study, roi=START, seed=seed)

    def _network(self, condition: str, seed: int, alpha: float | None = None, study: str | None = None) -> Path:
        if self._condition(condition).kind == "adopted":  # it is there, or nothing planned would make it
            return folders.find(NETWORKS, study or self.study, roi=condition, seed=seed).folder / folders.RECORD
        alpha = self.alpha if alpha is None else alpha
        after = self._predictors(condition, seed, study)
        after += [self._start(seed, study)] if self._setting(NETWORKS, "start") == "trained" else []
        name = f"network_{self._label(condition, seed, alpha, study)}"
        return self._job(NETWORKS, after, name=name, study=study, roi=condition, seed=seed, alpha=alpha)

    def _attack(
        self, condition: str, seed: int, alpha: float | None = None, study: str | None = None, *attacks: str
    ) -> Path:
        alpha = self.alpha if alpha is None else alpha
        after, own = [self._network(condition, seed, alpha, study)], {}
        name = f"attack_{self._label(condition, seed, alpha, study)}"
        if attacks and list(attacks) != self.attacks:
            name, own = f"{name}_{'-'.join(attacks)}", {"attacks": " ".join(attacks)}
        return self._job(ATTACKED, after, name=name, study=study, roi=condition, seed=seed, alpha=alpha, **own)

    def _alone(self, notebook: str, conditions: list[str]) -> Path:
        """A notebook that compares networks of one seed."""
        own = {"rois": " ".join(conditions), "alpha": self.alpha, "seed": self.seeds[0]}
        return self._job(notebook, self._all(self._network, conditions), **own)

    def _audit(self, conditions: list[str]) -> Path:
        """Attacks side by side; the audit also tries images of networks of another seed, where there is one."""
        seeds = {"seed": self.seeds[0], "other_seed": self.seeds[:2][-1]}
        after = [self._network(name, seed) for name in conditions for seed in self.seeds[:2]]
        return self._job("11_attacks_and_audit", after, rois=" ".join(conditions), alpha=self.alpha, **seeds)

    def _job(
        self, notebook: str, after: Iterable[Path] = (), *, name: str = "", study: str | None = None, **own: Any
    ) -> Path:
        """Plan a notebook's run, named as the notebook is where nothing else is said, and return its record."""
        values = {"study": study or self.study, **(self.settings.get(notebook) or {}), **own}
        guided_by = self._predictor_seed(own.get("seed", self.seeds[0]))
        if guided_by and "predictor_seed" in folders.defaults(notebook):
            values["predictor_seed"] = guided_by
        record = folders.run_folder(notebook, values) / folders.RECORD
        trained_as = self.settings.get(NETWORKS) or {} if notebook == CLOUDS else {}
        planned = tuple(first for first in once(after) if first in self.jobs)
        job = Job(name or notebook, notebook, values, record, planned, trained_as)
        self.jobs.setdefault(record, job)
        return record

    # --- helpers ---

    def _condition(self, name: str) -> Condition:
        return parse_condition(name, self.hierarchy, self.regions)

    def _all(self, plan: Callable[[str, int], Path], conditions: list[str]) -> list[Path]:
        return [plan(condition, seed) for condition in conditions for seed in self.seeds]

    def _same(self, conditions: list[str]) -> dict[str, Any]:
        """What notebooks that compare networks of several seeds take."""
        return {"rois": " ".join(conditions), "alpha": self.alpha, "seeds": " ".join(map(str, self.seeds))}

    def _label(self, condition: str, seed: int, alpha: float, study: str | None) -> str:
        """What a run is of, as its rule is named: what is the study's own goes without saying."""
        of = "" if study in (None, self.study) else re.sub(r"[^\w.-]", "-", study_name(str(study))) + "_"
        other = "" if alpha == self.alpha else f"_alpha{alpha:g}"
        return f"{of}{condition}{other}_seed{seed}"

    def _with_upstream(self, records: Iterable[Path]) -> set[Path]:
        found = set(records)
        for job in reversed(self.jobs.values()):  # each after those it waits for
            if job.record in found:
                found.update(job.after)
        return found

    def _has_data(self, notebook: str, study: str) -> bool:
        """Of a study that is there, what it lacks data for is not planned; a simulated one will have all."""
        source = self.source if study == self.study else open_study(study)

        def has(part: str) -> bool:
            if part in _MEASURED or source is None:
                return part not in to_come(study).lacks
            entry, _, folder = part.partition("/")
            return source.has(entry) and (source.need(entry) / folder).exists()

        if absent := lacking(notebook, has):
            self.left_out[notebook] = absent
        return not absent

    def _with_data(self, conditions: list[str]) -> list[str]:
        """Leave out conditions that take the scanner's labels where a study has none, or none of its classes."""
        labelled = (
            self.source.has("scanner_labels") if self.source else "scanner_labels" not in to_come(self.study).lacks
        )
        wanting = "scanner_labels of its classes" if labelled else "scanner_labels"
        unfit = "labels" if labelled and not self._classes_are_labels() else None
        absent = [
            name
            for name, condition in zip(conditions, map(self._condition, conditions), strict=True)
            if condition.kind == unfit or (condition.labelled and not labelled)
        ]
        self.left_out |= {name: [wanting] for name in absent}
        return once(name for name in conditions if name not in absent)

    def _classes_are_labels(self) -> bool:
        """Whether the scanner's images are labelled by classes of the images to classify; what cannot be read is."""
        source = self.source
        if source is None or not source.has("classification"):
            return True
        classes = {place.name for folder in SPLITS for place in subfolders(source.need("classification") / folder)}
        with suppress(InputError):  # whoever reads the table says it
            labels = read_table(source.need("scanner_labels"), ["label"])["label"].dropna()
            return not classes or set(labels) <= classes
        return True

    def _region_names(self) -> tuple[str, ...]:
        """Name the regions there are, or will be; none where it is not known yet."""
        if self.source is None:
            return nsd_regions() if is_simulated(self.study) else ()
        from nbtools.data.brains.measured import region_names  # imports slowly

        return region_names(self.source)

    def _words(self, key: str, default: Iterable[object]) -> list[str]:
        return words(self.config[key], key) if key in self.config else list(map(str, default))

    def _ways(self, key: str) -> list[str]:
        """In which ways networks are trained on other images, beside plainly."""
        return self._words(key, {"hardened": HARDENED, "filtered": FILTERED}[key])

    def _setting(self, notebook: str, name: str) -> Any:
        return (self.settings.get(notebook) or {}).get(name, folders.defaults(notebook)[name])
