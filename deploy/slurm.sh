#!/bin/bash
# Train on GPUs of several nodes under Slurm, one process for each GPU. From the checkout, with its environment active:
#
#   sbatch deploy/slurm.sh tiny_imagenet model.dtype=bfloat16
#   sbatch --nodes=4 deploy/slurm.sh tiny_imagenet train.batch_size=1024
#
# The arguments are those of train.py. Five minutes before its time is up, and where it is preempted, the job saves. It
# is then queued again, and goes on where it was. Checkout, environment and data are on a file system that all nodes see.
#
# JAX gives process k of a node the k-th GPU of the node. So each task must see all of them: no --gpus-per-task and no
# --gpu-bind. On nodes without GPUs: --ntasks-per-node=1, and no --gpus-per-node.

#SBATCH --job-name=vit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

set -u
STOPPED=143 # 128 + SIGTERM: it was asked to stop, and has saved

run="runs/slurm-$SLURM_JOB_ID" # a job that is queued again keeps its number
if [ -e "$run/config.yml" ]; then
    set -- --resume "$run"
else
    set -- "$@" --run "$run"
fi

export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # some versions of srun do not take it from the job
srun python train.py "$@" train.distributed=auto
code=$?
if [ "$code" -eq "$STOPPED" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
