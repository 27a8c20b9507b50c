#!/usr/bin/env python3
"""The house's rules that a compiler does not check: no circle of modules, the direction of crates, and limits of size.

A file is a module. It has an edge to every file that defines something it names, in a `use` or in a path such as
`super::grid::Layer`; re-exports are followed to the definition, so neither `pub use` nor a path through it is an edge.
Tests do not count.

* A circle of files is one of these edges. Between a module and those inside its folder only the way down counts: what
  `mod.rs` defines for its children (a session, a handle) belongs to all of them, and a file that they could share it in
  would have no other name than the folder's.
* A circle of folders is found among the members of each folder, a folder counting as all that is inside it.
* Crates: what each may import is in DIRECTION and BANNED, and is read from `cargo metadata`.
* Limits: MOST_LINES in a file; MOST_PARAMETERS in a function, of which `self` is none, but for tests, whose values
  proptest draws, and for methods of traits, whose shape the trait decides; MOST_FIELDS that are public in a public
  struct, but for settings and for the flags that clap reads.

Usage: module_graph.py [--self-test]
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import planted_circles

MOST_LINES, MOST_PARAMETERS, MOST_FIELDS = 400, 5, 9
# Crates of this workspace that each may depend on (tests and benchmarks aside); one that is not listed may have any.
DIRECTION = {
    "prism-core": set(),
    "prism-nn": {"prism-core"},
    "prism-data": {"prism-core"},
    "prism-export": {"prism-core", "prism-nn"},
    "prism-infer": {"prism-core", "prism-nn"},
    "prism-fl": {"prism-core", "prism-nn", "prism-data", "prism-export"},
}
# The library's rooms have no command line and no progress bars.
BANNED = {"prism-fl": {"clap", "indicatif"}, "prism-data": {"clap", "indicatif"}, "prism-core": {"clap", "indicatif"}}

TOKENS = re.compile(
    r"//[^\n]*"
    r"|(?P<block>/\*)"
    r"|(?P<raw>\b(?:b|c)?r(?P<hashes>#*)\".*?\"(?P=hashes))"
    r"|(?P<text>\b[bc]?\"(?:\\.|[^\"\\])*\"|\"(?:\\.|[^\"\\])*\")"
    r"|(?P<char>\bb?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'\n])'|'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'\n])')",
    re.S,
)
DEFINITION = re.compile(
    r"\b(?:fn|struct|enum|union|trait|type|const|static|macro_rules\s*!)\s+(?:mut\s+)?(?:r#)?([A-Za-z_]\w*)"
)
PATH = re.compile(r"(?<![\w:.])(\$?[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+)")
USE = re.compile(r"(?P<visible>\bpub\b(?:\s*\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]*);")
MOD = re.compile(r"\bmod\s+(\w+)\s*;")
TEST = re.compile(r"#\s*\[\s*test\s*\]\s*(?:#\s*\[[^\]]*\]\s*)*\Z")
FIELDS = re.compile(r"(?P<flags>#\[derive\([^)]*\b(?:Args|Parser)\b[^)]*\)\]\s*(?:#\[[^\]]*\]\s*)*)?"
                    r"\bpub\s+struct\s+(?P<name>\w+)[^;{(]*\{")
INLINE = re.compile(r"\bmod\s+\w+\s*\{")


def strip(source):
    """`source` without comments, and with empty strings; every line keeps its number."""
    out, at = [], 0
    for match in iter(lambda: TOKENS.search(source, at), None):
        out.append(source[at : match.start()])
        at = match.end()
        if match["block"]:
            depth = 1
            for edge in re.compile(r"/\*|\*/").finditer(source, at):
                depth += 1 if edge[0] == "/*" else -1
                at = edge.end()
                if depth == 0:
                    break
            else:
                at = len(source)
        literal = match["raw"] or match["text"] or match["char"]
        out.append(('""' if literal else " ") + "\n" * source.count("\n", match.start(), at))
    return "".join(out) + source[at:]


def closing(text, start, pair="{}"):
    """The place behind the bracket that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == pair[0]) - (text[at] == pair[1])
        if depth == 0:
            return at + 1
    return len(text)


def without_tests(text):
    """Stripped `text` without the items under `cfg(test)`."""
    test = re.compile(r"#\s*\[\s*cfg\s*\(\s*(?:test|all\s*\(\s*test\b[^\]]*)\s*\)\s*\]")
    while match := test.search(text):
        at = match.end()
        while text[at:].lstrip().startswith("#"):
            at = closing(text, text.index("[", at), "[]")
        end = re.compile(r"[;{]").search(text, at)
        stop = len(text) if not end else end.end() if end[0] == ";" else closing(text, end.start())
        text = text[: match.start()] + "\n" * text.count("\n", match.start(), stop) + text[stop:]
    return text


def use_tree(tree, before=()):
    """The (path, name) pairs of a use tree; a glob has the name `*`."""
    tree = tree.strip()
    if tree.endswith("}"):
        head, inner = tree.split("{", 1)
        before += tuple(part.strip() for part in head.split("::") if part.strip())
        depth, part = 0, ""
        for char in inner[:-1] + ",":
            depth += (char == "{") - (char == "}")
            if char == "," and depth == 0:
                if part.strip():
                    yield from use_tree(part, before)
                part = ""
            else:
                part += char
        return
    tree, _, alias = re.sub(r"\s+", " ", tree).partition(" as ")
    path = before + tuple(part.strip() for part in tree.split("::") if part.strip())
    if path[-1] == "self":
        path = path[:-1]
    yield path, alias.strip() or path[-1]


class Module:
    """A file: what it defines, imports and names."""

    def __init__(self, path, source):
        text = without_tests(strip(source))
        self.path, self.children = path, {}
        self.child_names = MOD.findall(text)
        self.uses, self.globs = {}, []  # name -> (path, whether it is a re-export), and the same without names
        for match in USE.finditer(text):
            for target, name in use_tree(match["tree"]):
                if name == "*":
                    self.globs.append((target[:-1], bool(match["visible"])))
                else:
                    self.uses[name] = (target, bool(match["visible"]))
        self.body = MOD.sub("", USE.sub("", text))
        self.defines = set(DEFINITION.findall(self.body))
        self.words = set(re.findall(r"\w+", self.body))
        inline = [(m.end() - 1, closing(self.body, m.end() - 1)) for m in INLINE.finditer(self.body)]
        self.paths = set()
        for match in PATH.finditer(self.body):
            path = tuple(re.split(r"\s*::\s*", match[1].replace("$", "")))
            # From inside an inline module, its parent is this file.
            for _ in [begin for begin, end in inline if begin < match.start() < end and path[0] == "super"]:
                path = path[1:] if path[0] == "super" else path
            self.paths.add(path)


class Crate:
    """The modules of a crate from its root file, and the edges between them."""

    def __init__(self, name, root):
        self.name, self.folder, self.modules = name, root.parent, {}
        self.root = self.load(root, None, root.parent)
        self.macros = {}
        for module in self.modules.values():
            for macro in re.findall(r"#\s*\[macro_export[^\]]*\]\s*macro_rules\s*!\s*(\w+)", module.body):
                self.macros[macro] = module
        self.edges = defaultdict(lambda: defaultdict(set))
        for module in self.modules.values():
            self.find_edges(module)

    def load(self, path, parent, children):
        module = Module(path.relative_to(self.folder).as_posix(), path.read_text())
        module.parent = parent
        self.modules[module.path] = module
        for name in module.child_names:
            for child, inside in ((children / f"{name}.rs", children / name), (children / name / "mod.rs", children / name)):
                if child.exists():
                    module.children[name] = self.load(child, module, inside)
        return module

    def resolve(self, module, path, seen=frozenset()):
        """The module that defines `path` as `module` names it, and whether the path is that module itself."""
        if (module.path, path) in seen:
            return None
        seen |= {(module.path, path)}
        first, rest = path[0], path[1:]
        if first in ("crate", "self", "super"):
            start = {"crate": self.root, "self": module, "super": module.parent}[first]
            if start is None:
                return None
            return self.inside(start, rest, seen) if rest else (start, True)
        return self.inside(module, path, seen)

    def inside(self, module, path, seen):
        first, rest = path[0], path[1:]
        if first in ("self", "super"):
            return self.resolve(module, path, seen)
        if first in module.children:
            child = module.children[first]
            return self.inside(child, rest, seen) if rest else (child, True)
        # A function and a module may share a name: a path goes on through the module.
        if first in module.uses and (rest or first not in module.defines):
            target = module.uses[first][0]
            # `use name;` or `use name::...` of another crate ends here.
            found = self.resolve(module, target + rest, seen) if target[0] != first else None
            return found or ((module, False) if first in module.defines else None)
        if first in module.defines:
            return module, False
        for target, _ in module.globs:
            start = self.resolve(module, target, seen)
            if start and start[1] and (found := self.inside(start[0], path, seen)):
                return found
        if module is self.root and first in self.macros:
            return self.macros[first], False
        return None

    def find_edges(self, module):
        named = set()
        for name, (path, visible) in module.uses.items():
            # A re-export is an edge where the module uses what it passes on.
            if not visible or name in module.words:
                named.add((path, name))
        for path, _ in module.globs:
            if (start := self.resolve(module, path)) and start[1]:
                names = start[0].defines | set(start[0].uses)
                named |= {(path + (name,), name) for name in names & module.words - module.defines - set(module.uses)}
        named |= {(path, "::".join(path)) for path in module.paths}
        for path, name in named:
            found = self.resolve(module, path)
            # To import a module is no edge yet: what is named through it is.
            if found and not found[1] and found[0] is not module:
                self.edges[module.path][found[0].path].add(name)

    def is_ancestor(self, above, below):
        node = self.modules[below].parent
        while node is not None and node.path != above:
            node = node.parent
        return node is not None

    def file_graph(self):
        return {
            source: {target: names for target, names in targets.items() if not self.is_ancestor(target, source)}
            for source, targets in self.edges.items()
        }

    def folder_graphs(self):
        """For every folder the graph of its members, whose edges are those of the files inside them."""
        graphs = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
        for source, targets in self.edges.items():
            for target, names in targets.items():
                a, b = self.place(source), self.place(target)
                depth = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None)
                if depth is not None:
                    edge = f"{source} -> {target} ({', '.join(sorted(names))})"
                    graphs["/".join(a[:depth])][a[depth]][b[depth]].add(edge)
        return graphs

    def place(self, path):
        """The names of a module, from the root."""
        parts = path[:-3].split("/")
        return [] if parts in (["lib"], ["main"]) else parts[:-1] if parts[-1] == "mod" else parts

    def circles(self):
        """A report for each circle, of files first and then of folders."""
        reports, seen = [], []
        graph = self.file_graph()
        for members in components(graph):
            seen.append([self.place(member) for member in members])
            edges = [
                f"    {source} -> {target} ({', '.join(sorted(names))})"
                for source in members
                for target, names in sorted(graph[source].items())
                if target in members
            ]
            reports.append("\n".join([f"{self.name}: circle of {', '.join(members)}", *edges]))
        for folder, graph in sorted(self.folder_graphs().items()):
            for members in components(graph):
                inside = [part for part in folder.split("/") if part]
                places = [inside + [member] for member in members]
                # One of files that has been told is not told again.
                if any(all(p in [f[: len(p)] for f in files] for p in places) for files in seen):
                    continue
                edges = [f"    {edge}" for a in members for b in members for edge in sorted(graph[a].get(b, ()))]
                where = f" in {folder}" if folder else ""
                reports.append("\n".join([f"{self.name}: circle of folders{where}: {', '.join(members)}", *edges]))
        return reports


def components(graph):
    """The strongly connected components of more than one node, sorted (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            members = stack[at:]
            del stack[at:]
            if len(members) > 1:
                found.append(sorted(members))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def parameters(text, start):
    """How many parameters the function has whose name ends at `start` of stripped `text`, `self` aside."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "(" and depth == 0:
            break
        depth += (text[at] in "<([") - (text[at] in ")]" or text[at] == ">" and text[at - 1] not in "-=")
    inner = text[at + 1 : closing(text, at, "()") - 1]
    depth, parts = 0, [""]
    for i, char in enumerate(inner):
        depth += (char in "<([{") - (char in ")]}" or char == ">" and inner[i - 1] not in "-=")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    receiver = re.compile(r"(?:&\s*(?:'\w+\s+)?)?(?:mut\s+)?self\b")
    return sum(1 for part in parts if part.strip() and not receiver.match(part.strip()))


def over_limits(path, source):
    """A report for each limit that a file passes."""
    text, reports = strip(source), []
    traits = [(m.end() - 1, closing(text, m.end() - 1)) for m in re.finditer(r"\bimpl\b[^;{}]*\sfor\s[^;{}]*\{", text)]
    if (lines := source.count("\n")) > MOST_LINES:
        reports.append(f"{path}: {lines} lines; the limit is {MOST_LINES}: split it by what its parts do")
    for match in re.finditer(r"\bfn\s+(\w+)", text):
        free = any(begin < match.start() < end for begin, end in traits) or TEST.search(text, 0, match.start())
        if (count := parameters(text, match.end())) > MOST_PARAMETERS and not free:
            line = text.count("\n", 0, match.start()) + 1
            reports.append(
                f"{path}:{line}: fn {match[1]} has {count} parameters; the limit is {MOST_PARAMETERS}: give those that "
                "belong together a struct"
            )
    for match in FIELDS.finditer(text):
        fields = text[match.end() : closing(text, match.end() - 1)]
        count = len(re.findall(r"\bpub\s+\w+\s*:", fields))
        if count > MOST_FIELDS and not match["flags"] and "settings" not in str(path):
            line = text.count("\n", 0, match.start()) + 1
            reports.append(
                f"{path}:{line}: struct {match['name']} has {count} public fields; the limit is {MOST_FIELDS}: group them"
            )
    return reports


def wrong_directions(packages):
    """A report for each dependency that a crate must not have; `packages` as in `cargo metadata`."""
    reports, members = [], {package["name"] for package in packages}
    for package in packages:
        name = package["name"]
        wanted = {dep["name"] for dep in package["dependencies"] if dep["kind"] is None}
        refused = wanted & BANNED.get(name, set())
        if name in DIRECTION:
            refused |= wanted & members - DIRECTION[name]
        reports += [f"{name}: must not depend on {other}: see the rooms in ARCHITECTURE.md" for other in sorted(refused)]
    return reports


def check_workspace():
    """Every report of the workspace that cargo finds here."""
    command = ["cargo", "metadata", "--no-deps", "--locked", "--format-version", "1"]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    home, reports = Path.cwd(), wrong_directions(packages)
    for package in packages:
        folder = Path(package["manifest_path"]).parent
        for target in package["targets"]:
            if target["kind"][0] in ("lib", "bin"):
                reports += Crate(package["name"], Path(target["src_path"])).circles()
        for path in sorted(folder.rglob("*.rs")):
            if "target" not in path.relative_to(folder).parts:
                reports += over_limits(path.relative_to(home), path.read_text())
    return reports


def main():
    if sys.argv[1:] == ["--self-test"]:
        return planted_circles.self_test(sys.modules[__name__])
    reports = check_workspace()
    print("\n".join(reports) or "no circle of modules, no crate in the wrong direction, nothing over its limit")
    sys.exit(1 if reports else 0)


if __name__ == "__main__":
    main()
