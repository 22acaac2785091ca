"""The network of drift_changes.py with its keys, and nodes of it that are up."""

import drift_changes
from site_of_node import Site, place
from story import run


class Network:
    def __init__(self, s):
        self.story, self.keys, self.public = s, s.folder / "keys", {}
        self.keys.mkdir()
        for name in ("hub", "office", "branch"):
            secret = run("wg", "genkey").out
            (self.keys / f"{name}.key").write_text(secret)
            self.public[name] = run("wg", "pubkey", input=secret).out.strip()
        (self.keys / "office.psk").write_text(run("wg", "genpsk").out)
        self.topology = drift_changes.topology(self.public)

    def site(self, name, topology=None):
        """The node's machine, with nothing of ours on it."""
        site = Site(self.story, topology or self.topology, name)
        site.place_keys(self.keys)
        place(self.keys / "office.psk", site.folder / "office.psk")
        return site

    def up(self, name):
        site = self.site(name)
        site.ctl("apply")
        return site

    def named(self, text, site):
        """The text with OFFICE and the like as public keys; STRANGER: the one in /tmp/k."""
        for name, key in self.public.items():
            text = text.replace(name.upper(), key)
        if "STRANGER" in text:
            text = text.replace("STRANGER", site.sh("cat /tmp/k").out.strip())
        return text
