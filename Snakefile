"""The study as a workflow: world → predictors → guided networks → attacks → analyses → summary.

    snakemake --cores all                                    the embedded study, simulated: its report
    snakemake --cores all attacks                            its networks, attacked: what `calibrate` counts
    snakemake --cores all study                              every analysis of it, and its table's rows
    snakemake --cores all explorers                          what the explorers of notebooks 05, 14 and 15 show first
    snakemake --cores all --config rois="V1 TO" seeds="0 1"  fewer regions, more seeds
    snakemake --cores all --configfile config/nsd.yaml       NSD and ImageNet, fetched and prepared (data/README.md)
    snakemake --cores all --config study=mine                a study of your own, by name or by its .toml's path

`python -m nbtools study`, which `make demo` calls, does the same and says what is finished, and how long the rest takes.

Every job is one notebook run: `nbtools.workflow` plans them, `nbtools.runs` names their folders from their parameters.
"""

import os
import sys
from functools import cache

from nbtools.data import study_file
from nbtools.runs import figures, folders, provenance
from nbtools.workflow import calibration, costs, graph, sizes
from nbtools.workflow.config import world_arguments
from nbtools.workflow.jobs import SUMMARY, TARGETS

os.environ.update(OMP_WAIT_POLICY="PASSIVE")  # Snakemake sets how many threads a job has
os.environ[figures.LATER] = "yes"

GRAPH = graph.make_graph(config)
PRIORITIES = GRAPH.priorities
COSTS = costs.estimates(GRAPH, calibration.read_calibration(GRAPH.study))  # nothing is measured here
FILE = study_file(GRAPH.study)
SOURCES = {study: sizes.source_of(study) for study in GRAPH.studies}
PREPARED = {}  # what a study's runs wait for, beside its file


onstart:
    for line in GRAPH.notes:
        print(line, file=sys.stderr)


def as_is(value):
    """Hand a parameter over without looking for wildcards in it."""
    return lambda wildcards: value


@cache
def code(notebook):
    """The modules whose change makes a run old; and its code, for a notebook is old when that changes, not when saved."""
    file = folders.NOTEBOOKS / f"{notebook}.ipynb"
    return [str(module) for module in provenance.sources(file)], provenance.code_digest(file)


def fixed(job):
    """What was fixed of the study beforehand (`python -m nbtools preregister`): a report is old when there is more."""
    return list(map(str, provenance.registered(job.study))) if job.notebook == SUMMARY else []


if GRAPH.profile is not None:

    rule world:
        output:
            str(FILE),
        params:
            arguments=as_is(world_arguments(config)),
        shell:
            "{sys.executable:q} -m nbtools world {params.arguments}"


for study, source in SOURCES.items():
    if source is not None and source.nsd is not None and not source.simulated:
        PREPARED[study] = str(study_file(study).parent / "responses" / ".prepared")

        # Once for all runs: each session's gigabyte is reduced to the regions' voxels, with all cores.
        rule:
            name:
                "prepare" if study == GRAPH.study else f"prepare_{source.name}"
            input:
                str(study_file(study)),
            output:
                touch(PREPARED[study]),
            threads: workflow.cores
            params:
                study=study,
                rois=GRAPH.rois,
            shell:
                "{sys.executable:q} -m nbtools prepare nsd --study {params.study:q} --rois {params.rois:q} --jobs {threads}"


for target in TARGETS:

    rule:
        name:
            target
        default_target: target == "all"
        input:
            [str(job.record) for job in GRAPH.of(target)],


for job in GRAPH.jobs:

    rule:
        name:
            job.name
        input:
            study_file=str(study_file(job.study)),
            prepared=PREPARED.get(job.study, []),
            after=list(map(str, job.after)),
            fixed=fixed(job),
            sources=code(job.notebook)[0],
        output:
            str(job.record),
        log:
            notebook=str(job.log),
        priority: PRIORITIES[job.record]
        threads: int(COSTS.threads[job.record])
        resources:
            mem_mb=costs.growing(COSTS.memory[job.record]),
            runtime=costs.growing(costs.time_limit(COSTS.seconds[job.record])),
            **({"gpu": int(COSTS.gpus[job.record])} if COSTS.gpus[job.record] else {}),
        params:
            arguments=as_is(job.arguments),
            code=code(job.notebook)[1],
        shell:
            "{sys.executable:q} -m nbtools run --quiet {params.arguments}"
