#!/usr/bin/env bash
# Checks that the header is the one that the code makes, compiles the examples in C and C++ against it and both libraries,
# and runs them, also under valgrind where there is one: bash bindings/c/test.sh
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/c-examples
model=$root/models/mnist-rounds.safetensors.zst
mkdir -p "$out"
fail() { echo "error: $1" >&2; exit 1; }
# Debian has 0.29 as cbindgen-web; an older one does not know `#[unsafe(no_mangle)]`.
if cbindgen --version 2>/dev/null | grep -q " 0\.29"; then
  cbindgen --quiet --config cbindgen.toml --output include/prism.h --verify src/lib.rs ||
    fail "prism.h is old: in bindings/c, cbindgen --config cbindgen.toml --output include/prism.h src/lib.rs"
else
  echo "no cbindgen 0.29: whether prism.h is the one that the code makes is not checked" >&2
fi
libraries=${PRISM_BUILT:-$target/debug}
[ -n "${PRISM_BUILT:-}" ] || cargo build --quiet --locked -p prism-c

strict="-Wall -Wextra -Wpedantic -Werror -O1 -g"
# What Rust's standard library needs of the system, where it is linked in.
static="$libraries/libprism.a -lpthread -ldl -lm"
shared="-L$libraries -lprism -Wl,-rpath,$libraries"
cc -std=c11 $strict -Iinclude examples/draw.c -o "$out/draw" $shared
cc -std=c11 $strict -Iinclude examples/draw.c -o "$out/draw-static" $static
c++ -std=c++17 $strict -Iinclude examples/threads.cpp -o "$out/threads" $shared -lpthread

"$out/draw" "$model" "$out/shared.ppm" 4 7
"$out/draw-static" "$model" "$out/static.ppm" 4 7
cmp "$out/shared.ppm" "$out/static.ppm" || fail "the two libraries draw different images"
"$out/threads" "$model" | grep -q "the same in all threads" || fail "threads draw different images"

# Files that are no model: a sentence and exit code 1, no crash.
head -c 20000 "$model" >"$out/cut"
{ head -c 20000 "$model"; printf '\x55'; tail -c +20002 "$model"; } >"$out/altered"
: >"$out/empty"
for bad in cut altered empty; do
  code=0; said=$("$out/draw" "$out/$bad" "$out/none.ppm" 2>&1) || code=$?
  [ $code = 1 ] && [[ $said == "error: artifact $out/$bad cannot be used: "* ]] || fail "$bad: exit code $code, '$said'"
done

# Forged models, of which bindings/test.sh knows which ones are taken.
for forged in ${PRISM_HOSTILE:+"$PRISM_HOSTILE"/*}; do
  case $(basename "$forged") in taken-*) wanted=0 ;; *) wanted=1 ;; esac
  code=0; said=$("$out/draw" "$forged" "$out/none.ppm" 2 2>&1) || code=$?
  [ $code = $wanted ] || fail "$forged: exit code $code, '$said'"
done

if ! command -v valgrind >/dev/null; then
  echo "no valgrind: memory is not checked" >&2
  exit
fi
check() { valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite "$@" >/dev/null; }
check "$out/draw" "$model" "$out/checked.ppm" 4 7 || fail "valgrind complains of draw"
cmp "$out/shared.ppm" "$out/checked.ppm" || fail "another image under valgrind"
check "$out/threads" "$model" || fail "valgrind complains of threads"
code=0; check "$out/draw" "$out/altered" "$out/none.ppm" 2>"$out/said" || code=$?
[ $code = 1 ] || fail "valgrind complains of an altered model: $(cat "$out/said")"
echo "C and C++: both libraries draw the same images; valgrind has no complaint"
