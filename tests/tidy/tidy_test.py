#!/usr/bin/python3
"""Taste as a test: sizes, banned calls, and who may include whom. Reads sources, runs nothing."""

import os
import pathlib
import re
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("support", "guards")]
from story import Failure, main, root, story   # noqa: E402
from table import guards   # noqa: E402

# 100 is what we write; 120 is where a line stops fitting beside its neighbour in a review.
max_line = 120
max_file = 500
max_function = 70


def tracked(*suffixes):
    """Paths of our own files, relative to the root; untracked ones too, ignored ones not."""
    listing = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                             capture_output=True, text=True, check=True).stdout
    paths = [pathlib.Path(line) for line in listing.splitlines()]
    return [path for path in paths if path.suffix in suffixes and (root / path).is_file()]


def sources():
    return tracked(".cpp", ".hpp")


def read(path):
    return (root / path).read_text(errors="replace")   # some golden inputs are broken on purpose


def without_comments_and_text(code):
    """The same code, line for line, with comments and literals blanked out."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<delimiter>[^(\s]*)\(.*?\)(?P=delimiter)"|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.DOTALL)
    return pattern.sub(lambda match: "\n" * match.group(0).count("\n") + " ", code)


def functions(code):
    """(first line, name, number of lines) of every function body outside of another."""
    stack, statement_start, found = [], 0, []
    for at, character in enumerate(code):
        if character in ";}" and not any(kind == "function" for kind, _ in stack):
            statement_start = at + 1
        if character == "{":
            head = code[statement_start:at]
            head = re.sub(r"^\s*#[^\n]*$", "", head, flags=re.MULTILINE)
            scope = re.search(r"\b(namespace|class|struct|enum|union|extern)\b(?![^(]*\()"
                              r"|\bTEST_SUITE\(", head)
            inside = any(kind == "function" for kind, _ in stack)
            is_function = not inside and not scope and "(" in head
            stack.append(("function" if is_function else "block", (at, head)))
            if not inside and not is_function:
                statement_start = at + 1
        elif character == "}" and stack:
            kind, (start, head) = stack.pop()
            if kind == "function":
                name = re.findall(r"([\w:~]+)\s*\(", head)
                found.append((code.count("\n", 0, start) + 1, name[0] if name else "?",
                              code.count("\n", start, at) + 1))
            if not any(each == "function" for each, _ in stack):
                statement_start = at + 1
    return found


def demand_none(findings):
    if findings:
        raise Failure(f"{len(findings)} places\n" + "\n".join(findings))


def matches(paths, pattern, clean=without_comments_and_text):
    """"path:line: the line" for each match of the pattern."""
    out = []
    for path in paths:
        original = read(path).splitlines()
        for number, line in enumerate(clean("\n".join(original)).splitlines()):
            if re.search(pattern, line):
                out.append(f"{path}:{number + 1}: {original[number].strip()}")
    return out


def under(*folders):
    return [path for path in sources()
            if any(path.is_relative_to(folder) for folder in folders)]


@story("lines are short enough to read two files side by side")
def _(_):
    demand_none([f"{path}:{number}: {len(line)} characters" for path in sources()
                 for number, line in enumerate(read(path).splitlines(), 1) if len(line) > max_line])


@story("files are short enough to read at a sitting")
def _(_):
    demand_none([f"{path}: {len(read(path).splitlines())} lines" for path in sources()
                 if len(read(path).splitlines()) > max_file])


@story("functions fit a screen")
def _(_):
    demand_none([f"{path}:{line}: {name} has {length} lines" for path in sources()
                 for line, name, length in functions(without_comments_and_text(read(path)))
                 if length > max_function])


@story("the product starts no shell and no program")
def _(_):
    # execvp: `lab` becomes what its user asked for, and starts radvd; control/start.cpp starts overlayd.
    demand_none(matches(under("topology", "netlink", "daemon"),
                        r"(?<![\w.>])(std::|::)?(system|popen)\s*\("))
    shell = matches([path for path in under("topology", "netlink", "daemon")
                     if path.parts[:2] != ("daemon", "lab") and path.parts[-2:] != ("control", "start.cpp")], r"\b(exec[lv]p?e?|posix_spawnp?)\s*\(")
    demand_none(shell)


@story("no header imports a namespace into its readers")
def _(_):
    demand_none(matches(tracked(".hpp"), r"\busing\s+namespace\b"))


@story("daemon includes netlink, netlink includes topology, never the other way")
def _(_):
    def includes(folder, *banned):
        return matches(under(folder), rf'#\s*include\s*"({"|".join(banned)})/', clean=str)
    demand_none(includes("topology", "netlink", "daemon", "tests")
                + includes("netlink", "daemon", "tests") + includes("daemon", "tests"))


@story("only netlink knows netlink")
def _(_):
    banned = (r"#\s*include\s*<(linux/[\w/]*netlink|linux/(if_link|if_tunnel|fou|wireguard|ethtool|"
              r"netfilter|fib_rules|neighbour|veth)|libmnl/|netlink/|nftables/|libkmod|libnl)")
    demand_none(matches(under("topology", "daemon"), banned, clean=str))


@story("topology, wire and wireguard are pure: no file, clock, environment, log or thread")
def _(_):
    # result.hpp says where a bug of ours is before it aborts.
    pure = [path for path in under("topology", "daemon/wire", "daemon/wireguard")
            if path.name != "result.hpp"]
    demand_none(matches(pure, r"#\s*include\s*<(unistd\.h|fcntl\.h|sys/|net/|thread|mutex|fstream|"
                              r"iostream|filesystem|atomic|csignal|poll\.h)", clean=str)
                + matches(pure, r"\bgetenv\b|_clock::now\b|\btime\s*\(|\bf?printf\s*\("))


@story("every guard that can be taken away stands where the table of guards says")
def _(s):
    counts = {guard.name: read(guard.file).count(guard.text) for guard in guards}
    s.equal({name: count for name, count in counts.items() if count != 1}, {}, "guards not found once, but so often")


@story("every reason to drop something is told in docs/counters.md, and no other")
def _(s):
    names = {"lost_datagrams"}
    for header in ("daemon/wire/parsed.hpp", "daemon/wireguard/drop_reason.hpp"):
        names |= set(re.findall(r'"([a-z0-9_]+)"', read(header).split("names{")[1].split("}")[0]))
    told = set(re.findall(r"`([a-z0-9_]+)`", "".join(line.split("|")[1] for line in read("docs/counters.md").splitlines()
                                                      if line.startswith("| `"))))
    s.equal(sorted(told), sorted(names), "the first column")


@story("what names its interpreter can be run")
def _(s):
    scripts = [path for path in tracked("", ".py", ".sh")
               if (root / path).read_bytes().startswith(b"#!") and "golden" not in path.parts]
    s.equal([str(path) for path in scripts if not os.access(root / path, os.X_OK)], [], "without the right to run them")


@story("nothing is left to do")
def _(_):
    paths = tracked(".cpp", ".hpp", ".py", ".sh", ".txt", ".md", ".json")
    own = pathlib.Path(__file__).resolve().relative_to(root)
    demand_none(matches([path for path in paths if path != own],
                        r"\b(TODO|FIXME|XXX|HACK)\b", clean=str))


@story("sources tell no machine's paths")
def _(_):
    own = pathlib.Path(__file__).resolve().relative_to(root)
    demand_none(matches([path for path in tracked(".cpp", ".hpp", ".py", ".sh", ".md", ".txt")
                         if path != own], r"(?<![\w.$}])/(work|home/\w+)/", clean=str))


@story("the measure of functions measures")
def _(s):
    code = ("namespace a {\nstruct S {\n  int f() const {\n    if (x) {\n      y();\n    }\n  }\n"
            "};\nint g(int a,\n      int b) {\n  return 1;\n}\n"
            "const std::array<int, 2> t{{{1, 2}, {3, 4}}};\n}  // namespace\n")
    s.equal([list(each) for each in functions(code)], [[3, "f", 5], [10, "g", 3]], "functions")
    s.equal(without_comments_and_text('a; // "x\nb = "{"; /* {\n */ x\'{\'y 1\'000\'000'),
            "a;  \nb =  ; \n  x y 1'000'000", "blanked code")


main()
