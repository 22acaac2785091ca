"""Who is measured. Each is a context manager that makes a device "tun" with the inner addresses in both namespaces
of a World and yields what to send to and the processes that carry (none where the kernel does).

`carry` is overlayd's data path with a driver of its own; the others are Debian's packages with their fastest settings
that are named here.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

root = pathlib.Path(__file__).resolve().parents[3]
binaries = root / ".build/release/tests"
outer = ["10.9.0.1", "10.9.0.2"]
inner = ["10.8.0.1", "10.8.0.2"]
tunnel = ["10.7.0.1", "10.7.0.2"]   # of the WireGuard under a gretap


def run(*argv, **options):
    return subprocess.run(list(map(str, argv)), check=True, text=True, capture_output=True, **options).stdout


class World:
    """Two namespaces of this run's own and a cable between them. `cable`: "veth" hands super-packets and unfinished
    checksums through as veth does; "nic" cuts and merges them, as network cards do. A connection starts with reno here:
    one that starts with bbr, where that is the default, stays paced by a timer after iperf3 has made it cubic."""

    def __init__(self, folder, cable):
        self.folder, self.cable = folder, cable
        self.public_keys = []   # of the two ends, where a contestant has some
        self.names = [f"bench-{side}.{os.getpid()}" for side in "ab"]

    def __enter__(self):
        for name in self.names:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "cable", "netns", self.names[0], "type", "veth",
            "peer", "name", "cable", "netns", self.names[1])
        for side in (0, 1):
            self.at(side, "sysctl", "-q", "net.ipv4.tcp_congestion_control=reno")
            self.ip(side, "link set lo up")
            self.ip(side, f"addr add {outer[side]}/24 dev cable")
            if self.cable == "nic":
                self.at(side, "ethtool", "-K", "cable", "tso", "off", "tx-udp-segmentation", "off", "gro", "on")
            self.ip(side, "link set cable up")
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def argv(self, side, *argv):
        return ["ip", "netns", "exec", self.names[side], *map(str, argv)]

    def at(self, side, *argv, **options):
        return run(*self.argv(side, *argv), **options)

    def start(self, side, *argv):
        return subprocess.Popen(self.argv(side, *argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ip(self, side, words):
        run("ip", "-n", self.names[side], *words.split())

    def address(self, side):
        self.ip(side, f"addr add {inner[side]}/24 dev tun")
        self.ip(side, "link set tun up")

    def take_device(self, side, name="tun"):
        """Once it is there it is "tun", with the inner address."""
        for _ in range(100):
            shown = subprocess.run(["ip", "-n", self.names[side], "link", "show", name], capture_output=True)
            if shown.returncode == 0:
                break
            time.sleep(0.05)
        if name != "tun":
            self.ip(side, f"link set {name} down name tun")
        self.address(side)

    @contextlib.contextmanager
    def carried(self, processes=()):
        """Until the block ends; then neither the processes nor the devices are there any more."""
        try:
            yield inner[1], processes
        finally:
            for process in processes:
                process.terminate()
                process.wait()
            for side in (0, 1):
                subprocess.run(["ip", "-n", self.names[side], "link", "delete", "tun"], capture_output=True)


# ---- the kernel -------------------------------------------------------------------------------------


@contextlib.contextmanager
def plain_cable(_world):
    yield outer[1], ()


@contextlib.contextmanager
def vxlan(world):
    with world.carried() as told:
        for side in (0, 1):
            world.ip(side, f"link add tun type vxlan id 7 local {outer[side]} remote {outer[1 - side]} dstport 4789")
            world.address(side)
        yield told


# ---- ours -------------------------------------------------------------------------------------------


def key_pairs(world):
    """The private keys of both ends; the public ones are in the world."""
    private = [run("wg", "genkey").strip() for _ in (0, 1)]
    world.public_keys = [run("wg", "pubkey", input=key).strip() for key in private]
    return private


def ours(mode, mtu, config_of, options):
    """config_of(world): for each side the endpoint that it has there. `options`: as overlayd has them."""
    @contextlib.contextmanager
    def contestant(world):
        processes = []
        with world.carried(processes) as told:
            for side, endpoint in enumerate(config_of(world)):
                world.ip(side, f"tuntap add tun mode {mode} vnet_hdr")
                world.ip(side, f"link set tun mtu {mtu}")
                world.address(side)
                config = world.folder / f"{side}.json"
                config.write_text(json.dumps({**options, "endpoints": [endpoint]}))
                processes.append(world.start(side, binaries / "carry", config))
            yield told
    return contestant


def gretap_gue(**options):
    def endpoints(_world):
        return [{"local": outer[side], "port": 5555, "links": [
            {"device": "tun", "remote": outer[1 - side], "remote_port": 5555, "key": 77}]} for side in (0, 1)]
    return ours("tap", 1446, endpoints, options)


def wireguard(mode, mtu, **options):
    """Packets (tun), or Ethernet in GRE (tap)."""
    def endpoints(world):
        keys = key_pairs(world)
        return [{"private_key": keys[side], "port": 51820, "mtu": 1440,
                 "peers": [{"public_key": world.public_keys[1 - side], "endpoint": f"{outer[1 - side]}:51820",
                            "allowed_ips": [f"{inner[1 - side]}/32", f"{tunnel[1 - side]}/32"]}],
                 **({"tun": "tun"} if mode == "tun" else {"links": [
                     {"device": "tun", "local": tunnel[side], "remote": tunnel[1 - side], "key": 77}]})}
                for side in (0, 1)]
    return ours(mode, mtu, endpoints, options)


# ---- other people's, in user space ------------------------------------------------------------------


def forget_if_deserted(control):
    """A run that was killed leaves its socket, and we would talk to nobody."""
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(str(control))
        except ConnectionRefusedError:
            control.unlink()
        except FileNotFoundError:
            pass


@contextlib.contextmanager
def wireguard_go(world):
    keys = key_pairs(world)
    processes = []
    with world.carried(processes) as told:
        for side in (0, 1):
            name = f"go{side}"   # of its control socket, which both namespaces share
            control = pathlib.Path(f"/var/run/wireguard/{name}.sock")
            forget_if_deserted(control)
            processes.append(world.start(side, "wireguard-go", "-f", name))
            for _ in range(100):
                if control.exists():
                    break
                time.sleep(0.05)
            key = world.folder / "key"
            key.write_text(keys[side])
            world.at(side, "wg", "set", name, "private-key", key, "listen-port", "51820", "peer",
                     world.public_keys[1 - side], "allowed-ips", "0.0.0.0/0", "endpoint", f"{outer[1 - side]}:51820")
            world.ip(side, f"link set {name} name tun")
            world.address(side)
        yield told


def fastd(method):
    @contextlib.contextmanager
    def contestant(world):
        pairs = [run("fastd", "--generate-key", "--machine-readable").strip() for _ in (0, 1)]
        publics = []
        for side, secret in enumerate(pairs):
            config = world.folder / f"fastd{side}.conf"
            config.write_text(f'secret "{secret}";\n')
            publics.append(run("fastd", "--show-key", "--machine-readable", "-c", config).strip())
        processes = []
        with world.carried(processes) as told:
            for side in (0, 1):
                config = world.folder / f"fastd{side}.conf"
                config.write_text(f"""log level warn; mode tap; interface "tun"; method "{method}"; mtu 1426;
secret "{pairs[side]}"; bind {outer[side]}:10000;
peer "other" {{ key "{publics[1 - side]}"; remote {outer[1 - side]}:10000; }}
""")
                processes.append(world.start(side, "fastd", "-c", config))
            for side in (0, 1):
                world.take_device(side)
            yield told
    return contestant


@contextlib.contextmanager
def openvpn(world):
    """TAP, TLS with AES-256-GCM, each end known by its certificate's fingerprint."""
    prints = []
    for side in (0, 1):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", world.folder / f"{side}.pem", "-out", world.folder / f"{side}.crt", "-subj", f"/CN={side}")
        shown = run("openssl", "x509", "-in", world.folder / f"{side}.crt", "-noout", "-fingerprint", "-sha256")
        prints.append(shown.strip().split("=")[1])
    processes = []
    with world.carried(processes) as told:
        for side in (0, 1):
            processes.append(world.start(
                side, "openvpn", "--dev", "device", "--dev-type", "tap", "--proto", "udp", "--local", outer[side],
                "--remote", outer[1 - side], "--port", "1194", "--cipher", "AES-256-GCM", "--disable-dco",
                "--cert", world.folder / f"{side}.crt", "--key", world.folder / f"{side}.pem",
                "--peer-fingerprint", prints[1 - side],
                *(["--tls-server", "--dh", "none"] if side == 0 else ["--tls-client"])))
        for side in (0, 1):
            world.take_device(side, "device")
        yield told


# wireguard-go first: its greatest load is what the others' latency is measured under, too.
contestants = {
    "wireguard-go": wireguard_go, "veth": plain_cable, "vxlan": vxlan,
    "gretap-gue": gretap_gue(), "gretap-wireguard": wireguard("tap", 1398), "wireguard": wireguard("tun", 1440),
    "fastd null": fastd("null"), "fastd null@l2tp": fastd("null@l2tp"), "fastd salsa2012+umac": fastd("salsa2012+umac"),
    "openvpn": openvpn,
}
offloads = ("device-tso", "device-gro", "udp-gso", "udp-gro")   # as `overlayd --offload` names them
variants = {"gretap-gue, no offload": gretap_gue(offload="none"),
            **{f"gretap-gue, no {off}": gretap_gue(offload=",".join(each for each in offloads if each != off))
               for off in offloads},
            "gretap-gue, small": gretap_gue(memory="small"),
            "gretap-wireguard, small": wireguard("tap", 1398, memory="small"),
            "wireguard, small": wireguard("tun", 1440, memory="small")}
programs = {"wireguard-go": "wireguard-go", "fastd": "fastd", "openvpn": "openvpn", "wireguard": "wg"}


def available():
    """Those whose programs are installed."""
    def is_there(name):
        return all(shutil.which(program) for prefix, program in programs.items() if name.startswith(prefix))
    return {name: made for name, made in (contestants | variants).items() if is_there(name)}
