#!/usr/bin/env bash
# Trains on M nodes with N GPUs each: sbatch --nodes=M --gpus-per-node=N scripts/slurm.sh --config CFG [flags] [key=value ...]
# A job whose time is up, or that is preempted, saves within a step, is queued again and goes on by itself. The folder of
# the repository, the data and the run folder must be seen by all nodes.
#   PYTHON, VENV: as in setup.sh                   NPROC: processes a node, default its GPUs (1 without)
#   MASTER_PORT: default from the job's number      MAX_RESTARTS: of a node's processes after an error, default 1; 0: none
#SBATCH --job-name=recon
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: sbatch --nodes=M --gpus-per-node=N scripts/slurm.sh --config CFG [flags] [key=value ...]" >&2
  exit 2
fi
if [ -z "${SLURM_JOB_ID:-}" ] || [ -z "${SLURM_JOB_NODELIST:-}" ]; then
  echo "error: this is no Slurm job (SLURM_JOB_ID or SLURM_JOB_NODELIST not set); start it with sbatch" >&2
  exit 2
fi
# Slurm runs a copy of this file, so the repository is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"

python=${PYTHON:-${VENV:-.venv}/bin/python}
nodes=${SLURM_JOB_NUM_NODES:-1}
gpus=${SLURM_GPUS_ON_NODE:-0}
processes=${NPROC:-$((gpus > 0 ? gpus : 1))}
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((${SLURM_CPUS_PER_TASK:-1} + processes - 1) / processes))}

# Each attempt gets a store of its own: in a shared one, processes that are started again can meet the dead ones' keys.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# With this, --resume starts a run that has no checkpoint yet, and goes on with one that has.
export RECON_REQUEUED=1
srun --kill-on-bad-exit=1 "$python" -m torch.distributed.run \
  --nnodes="$nodes" --nproc_per_node="$processes" --max-restarts="${MAX_RESTARTS:-1}" \
  --rdzv_backend=c10d --rdzv_id="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" --rdzv_endpoint="$head_node:$port" \
  main.py "$@" --resume &
step=$!

# To this shell: the time is nearly up, or the nodes are wanted. torchrun knows SIGTERM only.
is_stopped=0
trap 'is_stopped=1; kill -TERM "$step" 2>/dev/null || true' TERM USR1
status=0
wait "$step" || status=$?
while kill -0 "$step" 2>/dev/null; do # a signal ends the waiting, not the step
  status=0
  wait "$step" || status=$?
done

if [ "$is_stopped" = 1 ] && [ "$status" != 0 ]; then
  echo "slurm: asked to stop; queued again, and goes on from the last checkpoint"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
