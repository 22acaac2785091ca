#!/usr/bin/env python3
"""An apply that is told to end, or dies, at any message that it sends: to end means to go back, and who comes after one
that has died finds nothing that is in its way.

strace sends the signal at the Nth message to the kernel or to overlayd.
"""

import collections
import json
import pathlib
import re
import shlex
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from example_lab import all_in_userspace   # noqa: E402
from site_of_node import Site, load   # noqa: E402
from story import main, overlayctl, root, run, sample, story   # noqa: E402

messages = "sendto,sendmsg"


def hub(s):
    """The blog's hub, all of it carried by overlayd."""
    topology = load(root / "examples/home.json")
    all_in_userspace(topology)
    site = Site(s, topology, "linode")
    site.place_keys(root / "tests/support/keys/home")
    s.at_end(lambda: site.ctl("down", code=None))
    return site


def kernel(site):
    """All that we know of it, but for what others have open and for modules, which stay loaded."""
    state = json.loads(site.ctl("snapshot").out)
    return {key: value for key, value in state.items() if key not in ("udp_sockets", "modules", "missing_modules")}


def apply_traced(site, *strace, code=0, verb="apply"):
    command = ["strace", "-o", str(site.folder / "trace"), "-e", f"trace={messages}", *strace, *site.argv(verb)]
    return site.sh(f"{shlex.join(command)} || exit $?", code)   # else the shell that stays tells us of each death


def moments(site):
    """Numbers of messages, from the first to one after the last."""
    apply_traced(site)
    sent = (site.folder / "trace").read_text().count("\nsend") + 2
    site.ctl("down")
    return range(1, sent + 1)


def apply_and_send(site, name, moment):
    """The Result. Of one that died by signal N a shell says 128 + N."""
    return apply_traced(site, "-e", f"inject={messages}:signal={name}:when={moment}", code=None)


for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    @story(f"{name} at any moment of an apply: it ends before the first change, goes back, or has all done", timeout=600)
    def _(s, name=name):
        site = hub(s)
        before = kernel(site)
        seen = collections.Counter()
        for moment in sample(list(moments(site))[::3]):
            told = apply_and_send(site, name, moment)
            seen[told.code] += 1
            if told.code == 0:
                site.ctl("diff", code=0)
                site.ctl("down")
                continue
            s.check(told.code in (4, 128 + signal.Signals[name]), f"message {moment}: {told}")
            if told.code == 4:
                s.contains(told.err, f"interrupted: {name}", f"message {moment}")
            s.equal(kernel(site), before, f"the kernel after message {moment}")
        s.check(seen[4] > 3 and seen[0] > 0, f"exit codes: {seen}")
        s.note(", ".join(f"exit code {code}: {times}" for code, times in sorted(seen.items())))


@story("an apply that dies at any moment: another one finishes it, and down takes all of it away", timeout=600)
def _(s):
    site = hub(s)
    before = kernel(site)
    died = 0
    for moment in sample(list(moments(site))[::3]):
        died += apply_and_send(site, "SIGKILL", moment).code == 128 + signal.SIGKILL
        if moment % 2:
            site.ctl("apply")
            site.ctl("diff", code=0)
        site.ctl("down")
        s.equal(kernel(site), before, f"the kernel after down, dead at message {moment}")
    s.check(died > 3, f"only {died} died")
    s.note(f"{died} died")


@story("a link that the kernel will not delete: down goes back, and overlayd carries all that it did")
def _(s):
    site = hub(s)

    def found():   # a TUN that is made anew draws another link-local address
        state = kernel(site)
        return {**state, "addresses": [each for each in state["addresses"] if not each["prefix"].startswith("fe80:")]}

    site.ctl("apply")
    before = found()
    apply_traced(site, verb="down")
    counts, deletions = collections.Counter(), []
    for call, rest in re.findall(r"(?m)^(sendto|sendmsg)(.*)", (site.folder / "trace").read_text()):
        counts[call] += 1
        if "RTM_DELLINK" in rest:
            deletions.append((call, counts[call]))
    s.check(len(deletions) > 3, f"only {len(deletions)} deletions")
    site.ctl("apply")
    for call, number in deletions:
        told = apply_traced(site, "-e", f"inject={call}:error=ENOBUFS:when={number}", code=None, verb="down")
        s.equal(told.code, 4, f"exit code of {told}")
        s.equal(found(), before, f"the kernel and overlayd after {call} {number}")
        s.contains(site.ctl("apply").out, "0 changes, 0 writes", "an apply afterwards")
    s.note(f"{len(deletions)} deletions refused")


@story("a lab that dies before it has a record leaves no key behind, once it is taken down")
def _(s):
    record = s.folder / "labs"
    file = root / "examples/layer3.json"
    keys = record / load(file)["network"] / ".keys"
    run("strace", "-o", s.folder / "trace", "-e", "trace=rename", "-e", "inject=rename:signal=SIGKILL:when=2",
        overlayctl, "lab", "up", file, "--state", record, code=-signal.SIGKILL)
    s.check(list(keys.glob("*.key")), "it has made a key")
    s.contains(run(overlayctl, "lab", "down", file, "--state", record).out, "no lab of", "lab down")
    s.check(not keys.exists(), "the keys are gone")


main()
