"""A second apply writes nothing: every node of every example is applied twice under strace, which shows each
message that goes to the kernel. The first time proves that the counter can count.
"""

import pathlib
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import kernel_writes
from site_of_node import Site, load, nodes
from story import main, root, run, story


def traced_apply(site):
    """Applies under strace; the changes seen from outside, and how many messages were looked at."""
    log = site.folder / "trace"
    site.sh(shlex.join(map(str, kernel_writes.traced(log, *site.argv("apply")))))
    families = kernel_writes.generic_families(run("genl", "ctrl", "list").out)
    return kernel_writes.changes(log.read_text(errors="replace"), families)


def example_node(s, path, name):
    """Applies twice, then asks diff; the changes of the first time."""
    keys = root / "tests/support/keys" / path.stem
    copy = s.folder / path.stem / name / path.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes())
    site = Site(s, load(path), name, copy)
    site.place_keys(keys)
    first, _ = traced_apply(site)
    again, looked = traced_apply(site)
    s.equal(again, [], f"{path.name}, {name}: what a second apply changes")
    s.check(looked >= 5, f"{path.name}, {name}: only {looked} netlink messages were seen")
    site.ctl("diff", code=0)
    site.namespace.remove()
    return first


for example in sorted((root / "examples").glob("*.json")):
    @story(f"{example.name}: apply, apply again: zero writes, and diff finds nothing")
    def _(s, example=example):
        figures = {}
        for name in nodes(load(example)):
            first = example_node(s, example, name)
            s.check(first, f"{name}: strace saw no change in a first apply")
            figures[name] = len(first)
        least, most = min(figures.values()), max(figures.values())
        s.note(f"{len(figures)} nodes; first apply {least} to {most} writes, second 0")


main()
