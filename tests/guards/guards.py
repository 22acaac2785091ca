#!/usr/bin/env python3
"""Takes each guard of the data path away, one at a time, and demands that a test notices: a unit test, or a story of
native/strangers_test.py, which needs root.

    guards.py [PART-OF-A-NAME]

A guard is a line of table.py: what is told of it, the file, the text there, what stands there without the guard. Tests
run in a copy of the tree, below .build/guards or $OVERLAY_GUARDS, so that the sources stay as they are. A text that is
no longer found, or is found twice, is a failure, too.
"""

import functools
import os
import pathlib
import shutil
import subprocess
import sys

here = pathlib.Path(__file__).resolve()
root = here.parents[2]
sys.path[:0] = [str(here.parent), str(root / "tests/support")]
from table import guards   # noqa: E402
from story import Failure, main, story   # noqa: E402

work = pathlib.Path(os.environ.get("OVERLAY_GUARDS", root / ".build/guards"))
tree, build = work / "tree", work / "build"
folders = ("daemon", "netlink", "topology", "tests")


def call(*words, seconds):
    try:
        return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds,
                              errors="replace", check=False)
    except subprocess.TimeoutExpired:   # which a busy machine brings about as well: it proves nothing
        raise Failure(f"{words[0]}: no end after {seconds} s") from None


# Without warnings: what a guard was the only one to use is unused without it.
def compile_tests():
    done = call("cmake", "--build", build, "--target", "guarded_units", "guarded_carry", seconds=1200)
    if done.returncode != 0:
        raise Failure("does not compile\n" + done.stdout[-3000:])


def failing_test():
    """The first test that fails, by its name; of a program that died, how it ended."""
    done = call(build / "tests/guarded_units", "--abort-after=1", seconds=300)
    if done.returncode == 0:
        return None
    for line in done.stdout.splitlines():
        if "TEST CASE:" in line:
            return line.split("TEST CASE:", 1)[1].strip()
    return f"ends with {done.returncode}: {(done.stderr.splitlines() or [''])[-1]}"


def failing_story():
    """The first of strangers_test.py, in the same way."""
    os.environ["OVERLAY_BUILD"] = str(build / "guarded")
    done = call(sys.executable, root / "tests/native/strangers_test.py", seconds=300)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL ")]
    if done.returncode != 0 and not failed:
        raise Failure(f"no story of strangers_test.py failed, yet it ends with {done.returncode}: {done.stderr[-1000:]}")
    return failed[0].removeprefix("FAIL ") if failed else None


def put(path, text):
    """As an editor does: with a time that no object is as young as."""
    path.write_text(text)
    os.utime(path)


@functools.cache
def copy_tree():
    """Once, and only what differs, so that a second run compiles little."""
    for name in ("CMakeLists.txt", *folders):
        for source in ([root / name] if (root / name).is_file() else (root / name).rglob("*")):
            target = tree / source.relative_to(root)
            if not source.is_file() or "__pycache__" in source.parts:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.read_bytes() != source.read_bytes():
                shutil.copy(source, target)
    for name in folders:
        for target in (tree / name).rglob("*"):
            if target.is_file() and not (root / target.relative_to(tree)).exists():
                target.unlink()
    options = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    done = call("cmake", "-G", "Ninja", "-S", tree, "-B", build, "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -w",
                "-DCMAKE_SUPPRESS_REGENERATION=ON", *options, seconds=300)
    if done.returncode != 0:
        raise Failure(done.stdout + done.stderr)


@story("with every guard in its place all tests pass", timeout=1800)
def _(_):
    copy_tree()
    compile_tests()
    if failed := failing_test() or failing_story():
        raise Failure(failed)


for guard in guards:
    @story(guard.name, timeout=1800)
    def _(s, guard=guard):
        copy_tree()
        path = tree / guard.file
        whole = (root / guard.file).read_text()
        if whole.count(guard.text) != 1:
            raise Failure(f"its text is there {whole.count(guard.text)} times in {guard.file}:\n{guard.text}")
        s.at_end(lambda: put(path, whole))
        put(path, whole.replace(guard.text, guard.without))
        compile_tests()
        found = failing_story() if guard.notices_story else failing_test()
        if not found:
            raise Failure("no test notices that it is gone")
        s.note(found)


main()
