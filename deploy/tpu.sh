#!/bin/bash
# Run a command of this project on all workers of a Cloud TPU slice. From the checkout, where `gcloud` is set up:
#
#   deploy/tpu.sh NAME ZONE install                                 # copies the last commit, and installs
#   deploy/tpu.sh NAME ZONE -m data.download tiny_imagenet
#   deploy/tpu.sh NAME ZONE train.py tiny_imagenet train.devices=all train.distributed=auto --run runs/tpu
#   deploy/tpu.sh NAME ZONE train.py --resume runs/tpu train.devices=all train.distributed=auto
#
# The run is on the disk of worker 0; the others need no copy to resume it. Copy it elsewhere before the slice is deleted.

set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
name=$1 zone=$2
shift 2

everywhere() {
    gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

if [ "$1" = install ]; then
    archive=$(mktemp --suffix=.tar.gz)
    trap 'rm -f "$archive"' EXIT
    git archive --format=tar.gz --output="$archive" HEAD
    gcloud compute tpus tpu-vm scp "$archive" "$name:vit.tar.gz" --zone="$zone" --worker=all
    # The Python of these machines may be too old. uv brings one.
    everywhere 'set -e; mkdir -p vit; tar -xzf vit.tar.gz -C vit; cd vit; python3 -m pip install --user uv
        python3 -m uv venv --clear --python 3.13 .venv
        python3 -m uv pip install --python .venv/bin/python -r requirements.txt "jax[tpu]"'
else
    everywhere "cd vit && exec .venv/bin/python $(printf '%q ' "$@")"
fi
