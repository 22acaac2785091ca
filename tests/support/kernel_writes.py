"""What a program asked the kernel to change, read off its system calls by strace.

strace copies every byte that is sent (`-e write=all`) and says what each descriptor is (`-yy`); the netlink
messages are taken apart here, by the kernel's own numbers, without a library that the program uses.
A message of an unknown kind counts as a change: better a false alarm than a change unseen.
"""

import re
import struct

calls = "sendto,sendmsg,sendmmsg,write,writev,pwrite64,ioctl,init_module,finit_module,delete_module"

# Kind of an rtnetlink message: type modulo 4, 2 is GET (Linux net/core/rtnetlink.c, rtnl_msgtype_kind).
rtnetlink_base, rtnetlink_get = 16, 2
# include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h (enum nf_tables_msg_types)
subsystem_nftables, batch_begin, batch_end = 10, 16, 17
nft_reads = {1: "GETTABLE", 4: "GETCHAIN", 7: "GETRULE", 10: "GETSET", 13: "GETSETELEM",
             16: "GETGEN", 19: "GETOBJ", 23: "GETFLOWTABLE"}
# genetlink.h, fou.h, wireguard.h, ethtool_netlink.h: commands that only read
generic_reads = {"nlctrl": {3, 10}, "fou": {3}, "wireguard": {0}, "ethtool": {1, 2, 4, 6, 7, 9, 11}}


def traced(log, *argv):
    """The command line that runs argv with its changes written to `log`."""
    return ["strace", "-f", "-yy", "-s", "128", "-e", f"trace={calls}", "-e", "write=all",
            "--seccomp-bpf", "-o", log, *argv]


def generic_families(listing):
    """Number → name, from `genl ctrl list`."""
    return {int(number, 16): name for name, number in
            re.findall(r"^Name: (\S+)\s+ID: (0x[0-9a-f]+)", listing, re.M)}


def messages(data):
    """(type, payload) of each netlink message in a datagram."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if length < 16:
            return
        yield kind, data[16:length]
        data = data[(length + 3) & ~3:]


def netlink_change(protocol, kind, payload, families):
    """What the message changes, or None."""
    if kind < rtnetlink_base and protocol != "NETFILTER":
        return None   # NOOP, ERROR, DONE
    if protocol == "ROUTE":
        return None if kind & 3 == rtnetlink_get else f"rtnetlink {kind}"
    if protocol == "NETFILTER":
        if kind in (batch_begin, batch_end):
            return None
        subsystem, command = kind >> 8, kind & 0xff
        reads = subsystem == subsystem_nftables and command in nft_reads
        return None if reads else f"nfnetlink subsystem {subsystem} message {command}"
    if protocol == "GENERIC":
        name = families.get(kind, f"family {kind}")
        return None if payload[0] in generic_reads.get(name, ()) else f"{name} command {payload[0]}"
    return f"netlink protocol {protocol} message {kind}"


def change_of_call(line, data, families):
    name = re.match(r"\d+\s+(\w+)\(", line)
    if not name:
        return []
    name = name[1]
    if name.endswith("_module"):
        return [line]
    if name == "ioctl":
        request = re.search(r">, ([A-Z]+\w*)", line)
        known = request and re.match(r"SIOCG|TCGETS|TIOCG|FION|TUNGET", request[1])
        return [] if known else [line]
    target = re.search(r"\(\d+<(.*?)>[,)]", line)
    target = target[1] if target else "?"
    if target.startswith("NETLINK:["):
        protocol = re.match(r"NETLINK:\[(\w+)", target)[1]
        # strace asks sock_diag, which does not list a socket before its first message (libnftables').
        if protocol.isdigit() and any(kind >> 8 == subsystem_nftables for kind, _ in messages(data)):
            protocol = "NETFILTER"
        found = (netlink_change(protocol, *message, families) for message in messages(data))
        return [each for each in found if each]
    if target.startswith(("/proc/", "/sys/")):
        return [f"write {target}"]
    return []


def calls_in(trace):
    """Each line of a trace with the bytes that its call sends."""
    line, data = "", bytearray()
    for row in trace.splitlines():
        if row.startswith(" | "):
            data += bytes.fromhex(row[10:59])   # " | 00000  ", then 16 bytes in hexadecimal
        elif not row.startswith(" *"):
            yield line, bytes(data)
            line, data = row, bytearray()
    yield line, bytes(data)


def changes(trace, families):
    """The list of changes in the text of a trace; and how many netlink messages were looked at."""
    found, looked = [], 0
    for line, data in calls_in(trace):
        if "NETLINK:[" in line:
            looked += sum(1 for _ in messages(data))
        found += change_of_call(line, data, families)
    return found, looked
