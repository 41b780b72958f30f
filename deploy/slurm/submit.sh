#!/usr/bin/env bash
# Runs a scenario as a job array of Slurm: one task a shard, then a job that merges their results.
#
#     deploy/slurm/submit.sh SCENARIO SHARDS [FLAGS OF muster run...]
#     deploy/slurm/submit.sh scenarios/sixty-thousand.toml 4
#     deploy/slurm/submit.sh scenarios/first-run.toml 8 --seed 7
#
# Call it in a folder that all nodes share; the results land there, in muster-<array job>/. Partition, account and the like come
# from Slurm's own variables (SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_RESERVATION ...), which hold for both jobs.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 SCENARIO SHARDS [FLAGS OF muster run...]" >&2
    exit 2
fi
scenario=$1 shards=$2
shift 2
here=$(dirname "$(realpath "$0")")

# What is wrong with the scenario is told now, not after hours in a queue. (The number of threads is MUSTER_THREADS, not a flag.)
checked=()
for flag in "$@"; do [ "$flag" = --yes ] || checked+=("$flag"); done
"${MUSTER:-muster}" check --quiet "$scenario" --shard "0/$shards" "${checked[@]}"

array=$(sbatch --parsable --array="0-$((shards - 1))" "$here/shards.sbatch" "$scenario" "$@")
array=${array%%;*} # "<job>;<cluster>" where there are several clusters
# afterany, not afterok: a shard that is void ends with 97, which is a failure to Slurm. What is missing or void, the merge says.
merge=$(sbatch --parsable --dependency="afterany:$array" "$here/merge.sbatch" "muster-$array")
echo "shards: job $array, tasks 0-$((shards - 1)); merge: job ${merge%%;*}, which leaves its summary in muster-$array/summary.txt"
