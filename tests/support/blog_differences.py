"""How a kernel set up by examples/home.json differs from the blog post's own commands: the list of
docs/differences-from-the-blog.md, and what is no value of an object."""

import re

from story import root

page = (root / "docs/differences-from-the-blog.md").read_text()

# The MTU option (RFC 4861 §4.6.4): 1398.
advertisement_differences = ["0501" + "0000" + "00000576"]

# Of blog_packets.py, even where the file turns all of our defaults off.
effects_of_iptables_only = {"a SYN without MSS option to the Internet": 536}


def listed_differences():
    """In the order in which they are found."""
    return re.search(r"```text\n(.*?)\n```", page, re.S)[1]


def explained_attributes():
    """Those that a row of the page's tables gives the reasons of."""
    tables = page.split("## Firewall")[0]
    first_cells = re.findall(r"^\|([^|]*)\|", tables, re.M)
    return {word for cell in first_cells for word in re.findall(r"`([^`]+)`", cell)} - {"br-lan"}
