#!/bin/bash
$options
#
# Starts a Ray cluster on the job's nodes and runs a sweep on it. A sweep that was cut off goes on.

set -e
$setup
set -uo pipefail

export TINYTL_CACHE=$cache
# a token of this job's own, in memory only: Ray asks for it wherever it listens
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN="$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
export RAY_AUTH_TOKEN
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0  # Ray is ended only after the sweep

if [ "$$SLURM_JOB_NUM_NODES" -eq 1 ]; then
    export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0  # Ray's name for: listen on loopback only
fi
export NETWORK_INTERFACE=$interface
nodes=($$(scontrol show hostnames "$$SLURM_JOB_NODELIST"))

# Prints the address at which the other nodes reach this one; loopback where there are none.
own_address() {
    if [ "$$SLURM_JOB_NUM_NODES" -eq 1 ]; then
        echo 127.0.0.1
    elif [ -n "$$NETWORK_INTERFACE" ]; then
        ip -4 -o address show dev "$$NETWORK_INTERFACE" | awk '{ sub("/.*", "", $$4); print $$4; exit }'
    else
        hostname --all-ip-addresses | tr ' ' '\n' |
            grep -m 1 -E '^(10|192\.168|172\.(1[6-9]|2[0-9]|3[01]))\.'
    fi
}

head_address="$$(own_address)" || head_address=
if [ -z "$$head_address" ]; then
    echo "no address between nodes is found; set slurm.interface in the settings" >&2
    exit 1
fi
# below are ports that Ray's workers take; jobs that share a node need ports of their own
head="$$head_address:$$((20000 + SLURM_JOB_ID % 12000))"

job_folder="$$(mktemp -d)"
export ray_folder="/tmp/tinytl-$$SLURM_JOB_ID"
finish() {
    kill $$(jobs -p) 2>/dev/null || true  # Ray on all nodes
    wait
    rm -rf "$$job_folder" "$$ray_folder"
}
trap finish EXIT
cat >"$$job_folder/$sweep_file" <<'END_OF_SWEEP_FILE'
$sweep
END_OF_SWEEP_FILE
cat >"$$job_folder/$script_file" <<'END_OF_SCRIPT_FILE'
$script
END_OF_SCRIPT_FILE

# Waits until something listens at HOST:PORT, for five minutes at most.
wait_for() {
    for _ in $$(seq 300); do
        if (exec 3<>"/dev/tcp/$${1%:*}/$${1#*:}") 2>/dev/null; then return; fi
        sleep 1
    done
    echo "nothing listens at $$1; see what Ray says above" >&2
    return 1
}

# Starts Ray on the node that it runs on, with the node's part of the job, until the job ends.
start_ray() {
    exec ray start "$$@" --block --node-ip-address="$$(own_address)" \
        --num-cpus=$cpus --num-gpus=$gpus --memory=$memory_bytes --object-store-memory=$object_store_bytes \
        --temp-dir="$$ray_folder"
}
functions="$$(declare -f own_address wait_for start_ray)"

for node in "$${nodes[@]}"; do
    command="start_ray --head --port=$${head#*:} --include-dashboard=false"
    if [ "$$node" != "$${nodes[0]}" ]; then
        command="wait_for $$head && start_ray --address=$$head"
    fi
    srun --nodes=1 --ntasks=1 --cpus-per-task=$cpus --nodelist="$$node" \
        bash -c "$$functions; $$command" &
done
wait_for "$$head"

sh "$$job_folder/$script_file" "$$head" "$${#nodes[@]}"
