#!/usr/bin/env bash
# Builds the package and the page and tests them in Node.js and in a real Chromium: bash bindings/web/test.sh
# What is not on the machine is said and left out: Node.js 20, clang, npm's packages, Chromium (CHROMIUM=... names another).
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
export PRISM_WEB=${PRISM_WEB_OUT:-$root/target/web} CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
if ! command -v node >/dev/null; then
  echo "no Node.js: the browser binding is not tested" >&2
  exit
fi
wasm=wasm32-unknown-unknown
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$wasm" ] && ! rustup target add "$wasm" >/dev/null 2>&1; then
  echo "no Rust for $wasm: the browser binding is not tested" >&2
  exit
fi
if ! command -v clang >/dev/null; then
  echo "no clang, which compiles zstd for $wasm: the browser binding is not tested" >&2
  exit
fi
bash build.sh
(cd tests && node --test node.test.mjs)
if ! (cd tests && npm ci --silent --no-audit --no-fund); then
  echo "no packages of npm: the page and the types are not tested" >&2
  exit
fi
ln -sfn "$PRISM_WEB/npm" tests/node_modules/prism-web
tests/node_modules/.bin/tsc --noEmit --strict --module nodenext --target es2022 --lib es2022,dom tests/types.ts
if [ ! -x "$CHROMIUM" ]; then
  echo "no $CHROMIUM: the page is not tested; on Debian, apt-get install chromium" >&2
  exit
fi
if [ -z "${PRISM_INFER:-}" ]; then
  [ -n "${PRISM_BUILT:-}" ] || cargo build --quiet --locked -p prism-infer
  PRISM_INFER=${PRISM_BUILT:-$target/debug}/prism-infer
fi
export PRISM_INFER
(cd tests && node --test browser.test.mjs)
