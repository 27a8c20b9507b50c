"""The self-test of module_graph.py: small crates with faults that it must find."""

import re
import tempfile
from pathlib import Path

# What the self-test plants: a crate, and a word for each report that it must give.
PLANTED = {
    "two files": (
        {
            "lib.rs": "mod a; mod b;",
            "a.rs": "use crate::b::B;\npub struct A(B);",
            "b.rs": "pub struct B;\nfn f(_: super::a::A) {}",
        },
        ["circle of a.rs, b.rs"],
    ),
    "through a re-export, a glob, a rename and an inline module": (
        {
            "lib.rs": "pub mod shelf; mod b; mod c;",
            "shelf/mod.rs": "mod a;\npub use a::{A as Renamed, two::*};",
            "shelf/a.rs": "use crate::b::*;\npub struct A(B);\npub mod two { pub struct Two; }",
            "b.rs": "pub struct B;\nmod inner { fn f() { super::super::c::g() } }",
            "c.rs": "use crate::shelf::Renamed;\npub fn g() -> Renamed { todo!() }",
        },
        ["circle of b.rs, c.rs, shelf/a.rs"],
    ),
    "two folders whose files make no circle": (
        {
            "lib.rs": "mod x; mod y;",
            "x/mod.rs": "pub mod one; pub mod two;",
            "x/one.rs": "pub struct One;",
            "x/two.rs": "use crate::y::Y;\npub struct Two(Y);",
            "y.rs": "pub struct Y(crate::x::one::One);",
        },
        ["circle of folders: x, y"],
    ),
    "no circle": (
        {
            "lib.rs": "mod parent; mod other; pub use parent::Parent;",
            # The way up is free, tests and comments and strings do not count, nor does importing a module.
            "parent/mod.rs": "mod child; mod leaf;\npub struct Parent;\nfn f() { child::g() }",
            "parent/child.rs": "use super::{Parent, leaf};\npub fn g() -> Parent { leaf::h() }",
            "parent/leaf.rs": "// use super::child::g;\npub fn h() { \"crate::other::O\"; '\"'; }\n"
            "#[cfg(test)]\nmod tests { use super::super::child::g; use crate::other::O; }",
            "other.rs": "use crate::Parent; /* /* crate::x */ */ pub struct O<'a>(&'a Parent);",
        },
        [],
    ),
}
LIMITS = """
fn five<T: Fn(u8, u8) -> u8>(&self, a: u8, b: Map<K, V>, c: (u8, u8), d: [u8; 2], e: T) {}
fn six(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8,) {}
impl Trait for X { fn free(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {} }
#[test]
fn drawn(a in 0..1, b in 0..1, c in 0..1, d in 0..1, e in 0..1, f in 0..1) {}
pub struct Ten { pub a: u8, pub b: u8, pub c: u8, pub d: u8, pub e: u8, pub f: u8, pub g: u8, pub h: u8, pub i: u8, pub j: u8 }
pub struct Nine { pub a: u8, b: u8, pub c: u8, pub d: u8, pub e: u8, pub f: u8, pub g: u8, pub h: u8, pub i: u8, pub j: u8 }
"""


def self_test(graph):
    """Asserts that the module `graph` finds what is planted, and nothing else."""
    for name, (files, wanted) in PLANTED.items():
        with tempfile.TemporaryDirectory() as folder:
            for path, source in files.items():
                (Path(folder) / path).parent.mkdir(exist_ok=True)
                (Path(folder) / path).write_text(source)
            found = graph.Crate("planted", Path(folder) / "lib.rs").circles()
        assert len(found) == len(wanted) and all(w in f for w, f in zip(wanted, found)), f"{name}: {found}"
    found = graph.over_limits("planted.rs", LIMITS + "\n" * graph.MOST_LINES)
    assert [re.findall("lines|fn six|struct Ten", f) for f in found] == [["lines"], ["fn six"], ["struct Ten"]], found
    dependency = {"name": "prism-nn", "kind": None}
    packages = [{"name": "prism-core", "dependencies": [dependency]}, {"name": "prism-nn", "dependencies": []}]
    assert graph.wrong_directions(packages) and not graph.wrong_directions(packages[1:])
    clap = [{"name": "prism-fl", "dependencies": [{"name": "clap", "kind": None}]}]
    assert graph.wrong_directions(clap)
    print("every planted fault was found, and nothing else")
