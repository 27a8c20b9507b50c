#!/usr/bin/env bash
# Generates the sides of Kotlin, Swift and Python from the compiled library, and runs what can run here; made to follow
# `cargo build --workspace --all-targets`: bash bindings/uniffi/test.sh
# Kotlin needs a Java runtime, JNA (JNA_JAR) and kotlinc, which npm has too; Swift is generated and not compiled.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
built=${PRISM_BUILT:-$target/debug}
out=$target/mobile
mkdir -p "$out"
fail() { echo "error: $1" >&2; exit 1; }
library=$built/libprism_mobile.so
for language in kotlin swift python; do
  "$built/examples/uniffi-bindgen" generate --no-format --language $language --out-dir "$out/$language" "$library"
done
cp "$library" "$out/python"
# What Swift reads of the library is a header of C, with words of Apple's compiler.
echo '#include "prismFFI.h"' | cc -std=c11 -fsyntax-only -D_Nonnull= -D_Nullable= -I"$out/swift" -x c -
grep -q "open func sample(count: UInt32, seed: UInt64, precision: Precision" "$out/swift/prism.swift" || fail "Swift cannot draw"
PYTHONPATH=$out/python "${PYTHON:-python3}" tests/mobile.py "$root/models/mnist-rounds.safetensors.zst" ${PRISM_HOSTILE:+"$PRISM_HOSTILE"/*}

jna=${JNA_JAR:-/usr/share/java/jna.jar}
if ! command -v java >/dev/null || [ ! -f "$jna" ]; then
  echo "no java or no JNA ($jna): the Kotlin side is generated and not compiled" >&2
  exit
fi
kotlinc=$(command -v kotlinc || echo "$target/kotlin/node_modules/kotlin-compiler/bin/kotlinc")
[ -x "$kotlinc" ] || npm install --silent --no-audit --no-fund --prefix "$target/kotlin" kotlin-compiler@2.4.20 || true
if [ ! -x "$kotlinc" ]; then
  echo "no kotlinc, nor an npm that brings it: the Kotlin side is generated and not compiled" >&2
  exit
fi
sources=("$out/kotlin/uniffi/prism/prism.kt" examples/Draw.kt)
if [ ! -f "$out/draw.jar" ] || ! cat "${sources[@]}" | cmp -s - "$out/compiled.kt"; then
  "$kotlinc" -nowarn -cp "$jna" "${sources[@]}" -include-runtime -d "$out/draw.jar"
  cat "${sources[@]}" >"$out/compiled.kt"
fi
cat >"$out/draw" <<END
#!/bin/sh
exec java -Djna.library.path='$built' -cp '$out/draw.jar:$jna' DrawKt "\$@"
END
chmod +x "$out/draw"
head -c 20000 "$root/models/mnist-rounds.safetensors.zst" >"$out/cut"
code=0; said=$("$out/draw" "$out/cut" "$out/none" 1 0 2>&1) || code=$?
[ $code = 1 ] && [[ $said == *"cannot be used"* ]] || fail "a file that is cut short, in Kotlin: exit code $code, '$said'"
echo "Kotlin: compiled, draws, refuses a file that is cut short"
