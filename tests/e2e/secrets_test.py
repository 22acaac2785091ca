#!/usr/bin/env python3
"""Secrets stay where they are: neither private nor preshared keys appear in anything that is printed,
kept on disk, or visible to others."""

import base64
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from story import main, overlayctl, run, story   # noqa: E402


def key():
    """A private key as `wg genkey` makes it, its public key, and every spelling of the secret."""
    private = run("wg", "genkey").out.strip()
    public = run("wg", "pubkey", input=private + "\n").out.strip()
    return private, public


def spellings(secret):
    raw = base64.b64decode(secret)
    return [secret.encode(), raw, raw.hex().encode(), raw.hex().upper().encode()]


def secret_file(s, name, text):
    path = s.file(name, text + "\n")
    path.chmod(0o600)
    return path


def topology(s, hub_public, spoke_public):
    return s.file("secret.json", {
        "version": 1, "network": "secret",
        "hub": {"name": "hub", "underlay": {"interface": "eth0", "addresses": ["198.51.100.1"]},
                "bridge": {"name": "br0", "addresses": ["192.168.0.1/24"]},
                "wireguard": {"interface": "wg0", "listen_port": 51820, "public_key": hub_public,
                              "private_key_file": "hub.key"}},
        "spokes": {"spoke": {"addresses": ["192.168.0.2/24"],
                             "link": {"type": "gretap-wireguard", "public_key": spoke_public,
                                      "private_key_file": "spoke.key",
                                      "preshared_key_file": "psk.key"}}}})


@story("no secret is printed, kept in the state directory, or shown in /proc")
def _(s):
    hub_private, hub_public = key()
    spoke_private, spoke_public = key()
    preshared = run("wg", "genpsk").out.strip()
    file = topology(s, hub_public, spoke_public)
    secret_file(s, "hub.key", hub_private)
    secret_file(s, "psk.key", preshared)
    hub = s.namespace("hub")
    peer = s.namespace("peer")
    s.veth(hub, "eth0", peer, "eth0")
    hub.ip("address", "add", "198.51.100.1/24", "dev", "eth0")
    state, run_dir = s.folder / "state", s.folder / "run"
    where = ["--state-dir", str(state), "--run-dir", str(run_dir)]
    on_hub = [str(file), "--node", "hub", *where]

    said = []
    for words in (["diff", *on_hub], ["diff", "--json", *on_hub], ["apply", "--json", *on_hub],
                  ["apply", *on_hub], ["status", *where], ["status", "--json", *where], ["snapshot"],
                  ["render", str(file), "--node", "hub", "--format", "wg"],
                  ["render", str(file), "--node", "hub", "--format", "ip"],
                  ["render", str(file), "--node", "hub", "--format", "json"]):
        result = hub.run(overlayctl, *words, code=None)
        s.check(result.code in (0, 2), f"{result}")
        said.append((" ".join(words[:1]), (result.out + result.err).encode()))
    shown = hub.run("wg", "show", "wg0", "private-key").out.strip()
    s.equal(shown, hub_private, "the kernel has the private key")
    s.equal(hub.run("wg", "show", "wg0", "preshared-keys").out.split()[1], preshared, "and the other")
    for path in [*state.rglob("*"), *run_dir.rglob("*")]:
        if path.is_file():
            said.append((str(path), path.read_bytes()))
    said.append(("down", hub.run(overlayctl, "down", *where).out.encode()))

    for secret in (hub_private, preshared):
        for what, text in said:
            for spelling in spellings(secret):
                s.check(spelling not in text, f"a secret appears in {what}")


@story("a key file that others can read, a link, no file, no key, a wrong key: refused, nothing changed")
def _(s):
    private, public = key()
    other_private, other_public = key()
    hub = s.namespace("hub")
    where = ["--state-dir", str(s.folder / "state"), "--run-dir", str(s.folder / "run")]
    file = topology(s, public, other_public)
    secret_file(s, "psk.key", run("wg", "genpsk").out.strip())
    path = s.folder / "hub.key"
    links = hub.ip_json("link")   # with what an earlier story's modules put into each namespace

    def refused(part):
        result = hub.run(overlayctl, "apply", str(file), "--node", "hub", *where, code=3)
        s.contains(result.err, part, "what it says")
        s.contains(result.err, f"{file}:", "the place")
        s.equal(hub.ip_json("link"), links, "links")

    refused("No such file or directory")
    path.write_text(private + "\n")
    for mode in (0o640, 0o604, 0o644, 0o620):
        path.chmod(mode)
        refused(f"others can read it (mode {mode:04o})")
    path.unlink()
    elsewhere = secret_file(s, "elsewhere.key", private)
    path.symlink_to(elsewhere)
    refused("a symbolic link")
    path.unlink()
    path.mkdir(mode=0o700)
    refused("not a regular file")
    path.rmdir()
    os.mkfifo(path, 0o600)   # whoever opens it for reading waits for a writer
    refused("not a regular file")
    path.unlink()
    for text in ("", private[:-1], "not a key", f"{private}\n{private}", private + "\n" * 100 + "more",
                 "A" * 43 + "=", private * 100_000):
        path.write_text(text)
        path.chmod(0o600)
        refused("empty" if not text else "a key of zeros" if text == "A" * 43 + "=" else "not one line of base64")
    preshared = s.folder / "psk.key"
    path.write_text(private + "\n")
    preshared.chmod(0o644)
    refused(f"{preshared}: others can read it (mode 0644)")
    preshared.chmod(0o600)
    secret_file(s, "hub.key", other_private)
    refused(f"has the public key {other_public}, the file states {public}")
    os.chown(path, 1000, 1000)
    refused("owned by uid 1000, neither root nor you")


main()
