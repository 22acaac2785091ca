#!/usr/bin/python3
"""Our protocol core against Debian's wireguard-go, in a network namespace of our own.

    wireguard_go.py PATH_OF_WIREGUARD_DRIVER

Needs root, /dev/net/tun, wireguard-go, wireguard-tools, iproute2 and ping; exits 77 without them.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from story import Failure, main, story   # noqa: E402

our_port, their_port = 41001, 41002


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def key_pair():
    private = run("wg", "genkey")
    return private, run("wg", "pubkey", input=private)


class Network:
    """wireguard-go on wg0 with 10.9.0.1, and our driver as its only peer."""

    def __init__(self, psk, mode, we_are_known):
        self.folder = tempfile.TemporaryDirectory()
        self.processes = []
        self.mode = mode
        try:
            self.start(psk, mode, we_are_known)
        except BaseException:
            self.__exit__()
            raise

    def start(self, psk, mode, we_are_known):
        private, public = key_pair()
        their_private, their_public = key_pair()
        self.go = subprocess.Popen(["wireguard-go", "-f", "wg0"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.processes.append(self.go)
        deadline = time.monotonic() + 10
        while not os.path.exists("/var/run/wireguard/wg0.sock"):
            if time.monotonic() > deadline:
                raise RuntimeError("wireguard-go did not start")
            time.sleep(0.05)
        psk_lines = f"PresharedKey = {psk}\n" if psk else ""
        endpoint = f"Endpoint = 127.0.0.1:{our_port}\n" if we_are_known else ""
        config = pathlib.Path(self.folder.name, "wg0.conf")
        config.write_text(f"[Interface]\nPrivateKey = {their_private}\nListenPort = {their_port}\n"
                          f"[Peer]\nPublicKey = {public}\n{psk_lines}{endpoint}"
                          "AllowedIPs = 10.9.0.2/32, fd09::2/128\n")
        run("wg", "setconf", "wg0", str(config))
        run("ip", "address", "add", "10.9.0.1/24", "dev", "wg0")
        run("ip", "address", "add", "fd09::1/64", "dev", "wg0", "nodad")
        run("ip", "link", "set", "wg0", "up")
        command = [driver_path, private, their_public, psk or "-", str(our_port), str(their_port),
                   mode, "60"]
        self.driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True)
        self.processes.append(self.driver)
        self.driver.stdout.readline()   # "ready": its socket is bound

    def __enter__(self):
        return self

    def report(self):
        """Ends the driver, or, where it calls, waits for its end."""
        if self.mode == "call":
            self.driver.wait(timeout=120)
        return json.loads(self.driver.communicate(timeout=120)[0])

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()   # wireguard-go then removes its socket and its device
            process.wait(timeout=20)
        self.folder.cleanup()


def answers(address, size=56):
    """Whether five pings come back."""
    # -w: until five or more replies came. Without it, the last one is given only two round trips.
    command = ["ping", "-c", "5", "-i", "0.1", "-w", "20", "-s", str(size), address]
    out = subprocess.run(command, capture_output=True, text=True).stdout
    return int(out.split(" received")[0].split()[-1]) >= 5


for with_psk in (False, True):
    suffix = " with a preshared key" if with_psk else ""

    @story("wireguard-go begins, we answer" + suffix)
    def _(s, with_psk=with_psk):
        with Network(run("wg", "genpsk") if with_psk else None, "answer", True) as network:
            s.equal(answers("10.9.0.2"), True, "pings answered")
            s.equal(answers("fd09::2", 1300), True, "IPv6 pings answered")
            report = network.report()
            s.equal((report["answered"] >= 10, report["sessions"], report["dropped"]), (True, 1, {}),
                    "report")

    @story("we begin, wireguard-go answers" + suffix)
    def _(s, with_psk=with_psk):
        with Network(run("wg", "genpsk") if with_psk else None, "call", False) as network:
            report = network.report()
            s.equal((report["replies"], report["sessions"], report["dropped"]), (25, 1, {}), "report")
            latest = int(run("wg", "show", "wg0", "latest-handshakes").split()[-1])
            s.equal(latest > 0, True, "wg show knows of a handshake")


@story("under load wireguard-go is sent a cookie, and comes back with it")
def _(s):
    with Network(None, "load", True) as network:
        s.equal(answers("10.9.0.2"), True, "pings answered")
        report = network.report()
        s.equal((report["sessions"], report["dropped"]), (1, {"cookie_asked": 1}), "report")


if __name__ == "__main__":
    if "OVERLAY_INTEROP_INSIDE" not in os.environ:
        missing = [tool for tool in ("wireguard-go", "wg", "ip", "ping", "unshare")
                   if shutil.which(tool) is None]
        if missing or os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
            print(f"skipped: needs root, /dev/net/tun and {', '.join(missing) or 'nothing else'}")
            sys.exit(77)
        os.environ["OVERLAY_INTEROP_INSIDE"] = "yes"
        # A mount namespace too: the control socket's folder is the machine's otherwise.
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    pathlib.Path("/var/run/wireguard").mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/var/run/wireguard")
    run("ip", "link", "set", "lo", "up")
    driver_path = sys.argv.pop(1)
    main()
