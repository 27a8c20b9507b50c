#!/usr/bin/env bash
# Builds the npm package and the page: bash bindings/web/build.sh, then open target/web/page/index.html.
# It needs the project's Rust toolchain and clang; where wasm-opt is, it makes the modules smaller.
#
#   prism-web, with and without vectors -> npm/{simd,scalar}.wasm
#   glue.js + model.js + worker.js, both modules in base64 -> page/engine.js
#   models/NAME.safetensors.zst in base64 -> page/shelf/NAME.js
#
# A page that is opened from a disk may load scripts but neither modules nor data, so all that it needs is in scripts.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=wasm32-unknown-unknown
out=${PRISM_WEB_OUT:-$root/target/web}
export CARGO_TARGET_DIR="$out/build"
# Debug information would be most of a module.
export CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_PANIC=abort

text_of() { base64 <"$1" | tr -d '\n'; }
# A module's text without its exports.
plain() { sed 's/^export //' "$1"; }
# A script whose names are its own.
script() { printf '"use strict";\n(() => {\n' && cat "$@" && printf '})();\n'; }

[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || rustup target add "$target" >&2
rm -rf "$out/npm" "$out/page"
mkdir -p "$out/npm" "$out/page/shelf"
# What rustc takes for granted of every WebAssembly machine.
rust_enables=(--enable-bulk-memory --enable-mutable-globals --enable-nontrapping-float-to-int --enable-sign-ext)
# A hostile file must not take a page's memory: 512 MiB is the most that one model gets.
limit="-C link-arg=--max-memory=536870912"
for kind in simd scalar; do
  case $kind in
    simd) features="-C target-feature=+simd128" allowed=--enable-simd ;;
    scalar) features="" allowed=--disable-simd ;;
  esac
  RUSTFLAGS="$limit $features" cargo build --quiet --locked -p prism-web --release --target $target
  module=$out/npm/$kind.wasm
  cp "$CARGO_TARGET_DIR/$target/release/prism_web.wasm" "$module"
  ! command -v wasm-opt >/dev/null || wasm-opt -O3 "${rust_enables[@]}" $allowed "$module" -o "$module"
  printf '%s.wasm: %s bytes, %s gzipped\n' $kind "$(wc -c <"$module")" "$(gzip -9c "$module" | wc -c)" >&2
done

cp npm/* ../../LICENSE "$out/npm"
cp page/index.html page/style.css "$out/page"
{ plain npm/glue.js && plain npm/model.js && cat page/worker.js; } >"$out/build/worker.js"
{
  echo 'const decode = (text) => Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0));'
  printf 'globalThis.prismEngine = {\n  worker: new TextDecoder().decode(decode("%s")),\n' "$(text_of "$out/build/worker.js")"
  for kind in simd scalar; do printf '  %s: decode("%s"),\n' $kind "$(text_of "$out/npm/$kind.wasm")"; done
  echo '};'
} | script - >"$out/page/engine.js"
(cd page && script privacy.js engine.js picture.js explore.js app.js) >"$out/page/app.js"
for model in "$root"/models/*.safetensors.zst; do
  name=$(basename "$model" .safetensors.zst)
  { printf 'prismShelf("%s", "' "$name" && text_of "$model" && printf '");\n'; } >"$out/page/shelf/$name.js"
done
echo "$out/page/index.html"
