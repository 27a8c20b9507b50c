#!/usr/bin/env python3
"""Every test that a page of docs/proofs names in a table exists, and is one."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`([a-z0-9_]{12,})`")
# Attributes stand above a test, and proptest's have their arguments in the head.
TEST = re.compile(r"#\[test\]\s+(?:#\[[^]]*\]\s+)*fn (\w+)\(")

folders = [path.parent for path in ROOT.glob("*/Cargo.toml")]
tests = {name for folder in folders for path in folder.rglob("*.rs") for name in TEST.findall(path.read_text())}
missing = []
for page in sorted(ROOT.glob("docs/proofs/*.md")):
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    named = [name for row in rows for name in NAMED.findall(row)]
    missing += [f"{page.relative_to(ROOT)} names the test {name}, which is none" for name in named if name not in tests]
    missing += [] if named else [f"{page.relative_to(ROOT)} names no test"]
print("\n".join(missing) or "every premise of a proof has its test")
sys.exit(bool(missing))
