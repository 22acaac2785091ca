"""A small runner for stories: end-to-end tests that read as what a user does and sees.

A story file is an ordinary program in tests/e2e (run inside the kernel lab) or tests/tidy (run on the
machine itself):

    from story import overlayctl, main, story

    @story("a second apply changes nothing")
    def _(s):
        hub = s.namespace("hub")
        hub.run(overlayctl, "apply", "examples/home.json", "--node", "linode")
        again = hub.run(overlayctl, "apply", "examples/home.json", "--node", "linode")
        s.equal(again.out, "0 changes, 0 writes\\n", "what it prints")

    main()

It prints `ok NAME`, `skip NAME: why` or `FAIL NAME: why` for each story, and how long it took; the details
of a failure on the lines after it, and exits non-zero when one failed. Arguments choose stories by a part of their
name. What a story makes (namespaces, processes, folders) ends with it, whatever happens in it.
Standard library only, Python ≥ 3.11.
"""

import atexit
import difflib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

root = pathlib.Path(__file__).resolve().parents[2]
build = pathlib.Path(os.environ.get("OVERLAY_BUILD", root / ".build/release"))
overlayctl = str(build / "daemon/overlayctl")
long_run = os.environ.get("OVERLAY_LONG") == "1"   # test.sh --long
seed = int(os.environ.get("OVERLAY_SEED", "0"))    # test.sh draws one

story_timeout_seconds = 600
command_timeout_seconds = 60   # generous: in the lab, every processor is emulated


class Failure(Exception):
    """What the story demands is not so."""


class Skip(Exception):
    """The story cannot be told here; the text says why."""


class Result:
    """How a command ended and what it printed."""

    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    def json(self):
        try:
            return json.loads(self.out)
        except json.JSONDecodeError as error:
            raise Failure(f"{command_text(self.argv)}: not JSON ({error})\n{self.out}") from None

    def __str__(self):
        text = f"$ {command_text(self.argv)}\n{self.out}{self.err}"
        return text.rstrip("\n") + f"\n(exit code {self.code})"


def sample(values):
    """Every second one, from the first or the second on as the seed says; in a long run all of them."""
    return values if long_run else values[seed % 2::2]


def command_text(argv):
    return " ".join(str(word) for word in argv)


def run(*argv, code=0, timeout=command_timeout_seconds, input=None, env=None, cwd=None):
    """Runs a command and returns its Result. `code`: what it must exit with; None: anything.

    The whole process group is killed at the timeout, and that is a failure."""
    argv = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            cwd=cwd or root, env={**os.environ, **(env or {})}, start_new_session=True)
    except OSError as error:
        raise Failure(f"{command_text(argv)}: {error}") from None
    try:
        out, err = process.communicate(input, timeout)
    except BaseException as reason:
        kill_group(process)
        out, err = process.communicate()
        if not isinstance(reason, subprocess.TimeoutExpired):
            raise
        raise Failure(f"{command_text(argv)}: no end after {timeout} s\n{out}{err}") from None
    result = Result(argv, process.returncode, out, err)
    if code is not None and result.code != code:
        raise Failure(f"exit code {result.code} instead of {code}\n{result}")
    return result


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wait_until(condition, what, deadline=20.0, every=0.1):
    """Waits until condition() is true and returns its value. Never sleep for a fixed time instead."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Failure(f"not within {deadline:g} s: {what}")
        time.sleep(every)


class Process:
    """A program in the background. It and its children end with the story, by SIGTERM, then SIGKILL."""

    def __init__(self, argv, log):
        self.argv, self.log = [str(word) for word in argv], log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=subprocess.STDOUT, cwd=root,
                                            start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def wait_for_output(self, text, deadline=20.0):
        def seen():
            if text in self.output():
                return True
            if not self.alive():
                raise Failure(f"{command_text(self.argv)} ended without saying {text!r}:\n"
                              f"{self.output()}")
            return False
        wait_until(seen, f"{command_text(self.argv)} says {text!r}", deadline)

    def stop(self, patience=5.0):
        """Ends it; returns its exit code (negative: the signal)."""
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                pass
        kill_group(self.process)
        return self.process.wait()


class Namespace:
    """A network namespace with a name that `ip netns` knows; lo is up."""

    def __init__(self, story, name):
        self.story, self.name = story, f"{name}.{os.getpid()}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def argv(self, *argv):
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv, **options):
        return run(*self.argv(*argv), **options)

    def start(self, *argv):
        return self.story.start(*self.argv(*argv))

    def sh(self, text, **options):
        return self.run("sh", "-e", "-c", text, **options)

    def ip(self, *argv, **options):
        return run("ip", "-n", self.name, *argv, **options)

    def ip_json(self, *argv):
        return self.ip("-j", "-d", *argv).json()

    def sysctl(self, key, value=None):
        """Reads, or writes, net.ipv4.ip_forward and the like."""
        path = "/proc/sys/" + key.replace(".", "/")
        if value is None:
            return self.run("cat", path).out.strip()
        return self.run("tee", path, input=f"{value}\n")

    def remove(self):
        pids = run("ip", "netns", "pids", self.name, code=None).out.split()
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        run("ip", "netns", "delete", self.name, code=None)


class Story:
    """What a story's function is given: makes things that end with it, and demands."""

    def __init__(self, name):
        self.name = name
        self.cleanups = []
        self.figures = ""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"overlay-story.{os.getpid()}."))
        self.at_end(lambda: shutil.rmtree(self.folder, ignore_errors=True))

    def at_end(self, cleanup):
        """Calls it after the story, last registered first."""
        self.cleanups.append(cleanup)

    def namespace(self, name):
        made = Namespace(self, name)
        self.at_end(made.remove)
        return made

    def veth(self, one, one_end, other, other_end):
        """A cable between two namespaces; both ends up."""
        one.ip("link", "add", "name", one_end, "type", "veth", "peer", "name", other_end,
               "netns", other.name)
        one.ip("link", "set", one_end, "up")
        other.ip("link", "set", other_end, "up")

    def start(self, *argv):
        log = self.folder / f"{len(self.cleanups)}.{pathlib.Path(str(argv[0])).name}.log"
        process = Process(argv, log)
        self.at_end(process.stop)
        return process

    def file(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
        return path

    def note(self, figures):
        """What its `ok` line says besides its name: "47 changes found, 47 repaired"."""
        self.figures = figures

    def check(self, condition, what):
        if not condition:
            raise Failure(what)

    def equal(self, found, expected, what):
        """Text or anything that JSON can say; a failure shows the difference line by line."""
        if found == expected:
            return
        lines = [value.splitlines() if isinstance(value, str)
                 else json.dumps(value, indent=2, sort_keys=True, default=str).splitlines()
                 for value in (expected, found)]
        difference = "\n".join(difflib.unified_diff(*lines, "expected", "found", lineterm=""))
        raise Failure(f"{what} differs\n{difference or f'{found!r} instead of {expected!r}'}")

    def contains(self, text, part, what):
        if part not in text:
            raise Failure(f"{what} does not contain {part!r}:\n{text}")

    def end(self):
        """Every cleanup, even when one fails; what failed."""
        failures = []
        while self.cleanups:
            try:
                self.cleanups.pop()()
            except Exception as error:   # noqa: a broken cleanup must not stop the next
                failures.append(f"cleanup: {error}")
        return failures


stories = []


def story(name, timeout=story_timeout_seconds):
    """Registers the function beneath as a story."""
    def register(function):
        if any(name == other for other, _, _ in stories):
            raise ValueError(f"two stories are called {name!r}")
        stories.append((name, function, timeout))
        return function
    return register


def on_alarm(_signal, _frame):
    raise Failure("the story did not come to its end in time")


def on_terminate(_signal, _frame):
    sys.exit(143)   # runs the cleanups by atexit


def tell(name, function, timeout):
    """Runs one story and prints its line; whether it failed."""
    current = Story(name)
    began = time.monotonic()
    atexit.register(current.end)
    verdict, details = "ok", ""
    signal.alarm(timeout)
    try:
        function(current)
        details = current.figures
    except Skip as why:
        verdict, details = "skip", str(why)
    except Failure as why:
        place = traceback.extract_tb(why.__traceback__)
        own = [frame for frame in place if frame.filename != __file__]
        where = f"{pathlib.Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""
        verdict, details = "FAIL", where + str(why)
    except Exception:   # noqa: a bug in the story is a failure of it
        last = traceback.format_exc().rstrip().splitlines()
        verdict, details = "FAIL", "\n".join([last[-1], *last])
    signal.alarm(0)
    leftovers = current.end()
    atexit.unregister(current.end)
    if leftovers and verdict != "FAIL":
        verdict, details = "FAIL", "\n".join(leftovers)
    first, _, rest = details.partition("\n")
    seconds = f"({time.monotonic() - began:.0f} s)"
    print(f"{verdict} {name}: {first} {seconds}" if details else f"{verdict} {name} {seconds}")
    for line in rest.splitlines():
        print("    " + line)
    sys.stdout.flush()
    return verdict == "FAIL"


def main():
    """Tells the stories that the arguments name, or all of them, and ends the program."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, on_terminate)
    wanted = sys.argv[1:]
    if wanted == ["--list"]:
        print("\n".join(name for name, _, _ in stories))
        sys.exit(0)
    chosen = [each for each in stories if not wanted or any(word in each[0] for word in wanted)]
    if not chosen:
        sys.exit(f"no story's name contains {' or '.join(wanted)}")
    failures = [tell(*each) for each in chosen]
    sys.exit(1 if any(failures) else 0)
