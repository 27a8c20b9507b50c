#!/usr/bin/env bash
# Everything that the bindings must pass; made to follow `cargo test --workspace`, whose builds it uses.
# What the machine lacks (Node.js, npm, Chromium, valgrind, numpy, Java) is said on standard error, and what needs it left out.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
python=${PYTHON:-python3}
# With all targets, so that every crate has the features that it has in the tests and nothing is compiled twice.
cargo build --quiet --locked --workspace --all-targets
export PRISM_BUILT=$target/debug PRISM_HOSTILE=$target/hostile
rm -rf "$PRISM_HOSTILE"
"$PRISM_BUILT/examples/hostile" "$PRISM_HOSTILE"

bash bindings/c/test.sh
bash bindings/web/test.sh
rm -f "$target/mobile/draw"
bash bindings/uniffi/test.sh
ways=(--infer "$PRISM_BUILT/prism-infer" --c "$target/c-examples/draw")
if command -v node >/dev/null && [ -d "${PRISM_WEB_OUT:-$PWD/target/web}/npm" ]; then
  web=${PRISM_WEB_OUT:-$PWD/target/web}
  ways+=(--node "$web")
  [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ] || [ ! -d bindings/web/tests/node_modules/playwright-core ] ||
    ways+=(--chromium "$web")
fi
[ ! -x "$target/mobile/draw" ] || ways+=(--kotlin "$target/mobile/draw")
if ! "$python" -c 'import numpy' 2>/dev/null; then
  echo "no numpy: the Python sampler and the same pixels are not tested" >&2
  exit
fi
module=$target/python-module
mkdir -p "$module"
cp "$PRISM_BUILT/libprism_python.so" "$module/prism_fl.abi3.so"
if "$python" -c 'import pytest' 2>/dev/null; then
  PYTHONPATH=$module "$python" -m pytest -q bindings/python/tests/test_model.py
else
  echo "no pytest: the Python sampler is tested by its pixels alone" >&2
fi
"$python" bindings/same_pixels.py "${ways[@]}" --python "$module"
