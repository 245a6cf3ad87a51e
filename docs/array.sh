#!/bin/bash
# A network per region, without Snakemake: `sbatch docs/array.sh`, in the project's folder. Partition, account, GPU: yours.
# First, once: the regions' predictors (notebook 02) and the network that all begin with (notebook 03, -p roi start).
#SBATCH --array=0-6
#SBATCH --cpus-per-task=1 --mem=4G --time=2:00:00
#SBATCH --signal=TERM@120 --requeue --open-mode=append
rois=(V1 V2 V4 VO PHC LO TO)

srun .venv/bin/python -m nbtools run notebooks/03_guided_training.ipynb -p roi "${rois[$SLURM_ARRAY_TASK_ID]}"
status=$?
# 75: told to end, two minutes before time is up. Its checkpoint is written; back in the queue, it goes on from there.
[ "$status" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$status"
