#!/usr/bin/env bash
# A Monte Carlo study on a Ray cluster that lives as long as one Slurm job.
#
#   sbatch examples/clusters/slurm_ray.sh --num-active 400 --fading --realizations 1000000000
#
# Beside a job array: parts are handed out as processes become free, and go elsewhere when a node
# is lost. Needs the extra `ray` on all nodes: pip install -c constraints.txt -e '.[runs,ray]'
#SBATCH --job-name=lsajax-ray
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=2G
#SBATCH --time=04:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail

OUT=${OUT:-results/monte_carlo}
source .venv/bin/activate
export RAY_USAGE_STATS_ENABLED=0

# Starts Ray on every node, the command on the first one, and stops Ray when the command ends.
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ray symmetric-run --address "$HEAD:6379" --min-nodes "$SLURM_NNODES" \
  --num-cpus "$SLURM_CPUS_PER_TASK" -- \
  python -m experiments.monte_carlo --ray auto --out "$OUT" "$@"
