#!/usr/bin/env bash
# A Monte Carlo study as a job array: 100 tasks that share one folder, and nothing else.
#
#   sbatch examples/clusters/slurm_array.sh --num-active 400 --fading --realizations 1000000000
#
# A task that fails or is preempted goes on with `sbatch --array=17 ...`, or when the whole array is
# submitted again: what is in the folder is not computed again. The last task to end writes the
# results.
#SBATCH --job-name=lsajax
#SBATCH --array=0-99
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=2G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A_%a.log
set -euo pipefail

# The folder must be on a file system that all nodes share; a checkout with its .venv too.
OUT=${OUT:-results/monte_carlo}
source .venv/bin/activate

# SLURM_ARRAY_TASK_ID and _COUNT say which share is ours. Workers take the CPUs of the task.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" python -m experiments.monte_carlo --out "$OUT" --workers "$SLURM_CPUS_PER_TASK" "$@"
