#!/usr/bin/env bash
# Draws one image on a Cortex-M7 of 512 KB, which QEMU imitates, and compares it with prism-infer's: bash tests/micro/run.sh
# It needs qemu-system-arm, and Rust for thumbv7em-none-eabihf (rustup target add; CARGO names another cargo that has it).
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
array=$(mktemp)
trap 'rm -f "$array"' EXIT
infer=${PRISM_INFER:-$CARGO_TARGET_DIR/release/prism-infer}
[ -x "$infer" ] || (cd "$root" && cargo build --quiet --locked --release -p prism-infer)
"$infer" "$root/models/mnist-rounds.safetensors.zst" --quiet --precision i16 --n 4 --seed 0 --npy "$array" >/dev/null
# Image 3: 32 x 32 numbers of four bytes.
expected=$(tail -c 4096 "$array" | sha256sum | cut -d' ' -f1)
drawn=$(${CARGO:-cargo} run --quiet --locked --release)
[ "$drawn" = "$expected" ] || { echo "error: it drew '$drawn', not $expected" >&2; exit 1; }
echo "a Cortex-M7 of 512 KB draws what prism-infer draws: $drawn"
