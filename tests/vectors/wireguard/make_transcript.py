#!/usr/bin/python3
"""A WireGuard handshake written a second time, from the whitepaper (sections 5.4.1 to 5.4.7), in
another language and on other libraries: BLAKE2s from Python's hashlib, HMAC from its hmac, X25519
and ChaCha20-Poly1305 from the `cryptography` package, HChaCha20 by hand
(draft-irtf-cfrg-xchacha-03 §2.2). It shares no line with daemon/wireguard and was written without
looking at its output.

    make_transcript.py > transcript.txt          (python3-cryptography; made with 48.0.0)

Every value is a line "name hex". All keys are fixed, so that the output never changes.
"""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def hash_(*parts):
    return hashlib.blake2s(b"".join(parts), digest_size=32).digest()


def mac(key, *parts):
    return hashlib.blake2s(b"".join(parts), key=key, digest_size=16).digest()


def hmac_(key, data):
    return hmac.new(key, data, hashlib.blake2s).digest()


def kdf(count, key, data):
    secret = hmac_(key, data)
    out = [hmac_(secret, b"\x01")]
    while len(out) < count:
        out.append(hmac_(secret, out[-1] + bytes([len(out) + 1])))
    return out


def dh(private, public):
    theirs = X25519PublicKey.from_public_bytes(public)
    return X25519PrivateKey.from_private_bytes(private).exchange(theirs)


def public_of(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw,
                                                                                  PublicFormat.Raw)


def aead(key, counter, text, associated):
    return ChaCha20Poly1305(key).encrypt(bytes(4) + struct.pack("<Q", counter), text, associated)


def hchacha20(key, nonce16):
    state = list(struct.unpack("<4I8I4I", b"expand 32-byte k" + key + nonce16))

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xffffffff
            mixed = state[z] ^ state[x]
            state[z] = (mixed << turn | mixed >> (32 - turn)) & 0xffffffff

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def xaead(key, nonce24, text, associated):
    inner = hchacha20(key, nonce24[:16])
    return ChaCha20Poly1305(inner).encrypt(bytes(4) + nonce24[16:], text, associated)


def check_published_vectors():
    """The pieces written here by hand against their own published vectors."""
    assert hash_(b"abc").hex() == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
    # draft-irtf-cfrg-xchacha-03 §2.2.1
    assert hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")).hex() == (
        "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")


class Side:
    """Chaining key and hash, mixed the same way at both ends."""

    def __init__(self, responder_public):
        self.ck = hash_(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.h = hash_(hash_(self.ck, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), responder_public)

    def ephemeral(self, public):
        self.ck, = kdf(1, self.ck, public)
        self.h = hash_(self.h, public)

    def seal(self, key, text):
        sealed = aead(key, 0, text, self.h)
        self.h = hash_(self.h, sealed)
        return sealed

    def mix(self, shared):
        self.ck, key = kdf(2, self.ck, shared)
        return key


def with_macs(message, receiver_public, cookie=None):
    message += mac(hash_(b"mac1----", receiver_public), message)
    return message + (mac(cookie, message) if cookie else bytes(16))


def handshake(name, psk):
    i_private, r_private = bytes(range(1, 33)), bytes(range(101, 133))
    i_ephemeral, r_ephemeral = hash_(b"initiator", psk), hash_(b"responder", psk)
    i_public, r_public = public_of(i_private), public_of(r_private)
    stamp = struct.pack(">QI", (1 << 62) + 10 + 1700000000, 117440512)

    side = Side(r_public)
    side.ephemeral(public_of(i_ephemeral))
    static = side.seal(side.mix(dh(i_ephemeral, r_public)), i_public)
    time = side.seal(side.mix(dh(i_private, r_public)), stamp)
    initiation = with_macs(b"\x01\0\0\0" + struct.pack("<I", 0x11223344)
                           + public_of(i_ephemeral) + static + time, r_public)

    side.ephemeral(public_of(r_ephemeral))
    side.mix(dh(r_ephemeral, public_of(i_ephemeral)))
    side.mix(dh(r_ephemeral, i_public))
    side.ck, tau, key = kdf(3, side.ck, psk)
    side.h = hash_(side.h, tau)
    empty = side.seal(key, b"")
    response = with_macs(b"\x02\0\0\0" + struct.pack("<II", 0x55667788, 0x11223344)
                         + public_of(r_ephemeral) + empty, i_public)

    to_responder, to_initiator = kdf(2, side.ck, b"")
    packet = bytes.fromhex("450000170000000040000000c0000201c0000202") + b"abc"
    data = (b"\x04\0\0\0" + struct.pack("<IQ", 0x55667788, 7)
            + aead(to_responder, 7, packet + bytes(-len(packet) % 16), b""))
    keepalive = b"\x04\0\0\0" + struct.pack("<IQ", 0x11223344, 0) + aead(to_initiator, 0, b"", b"")
    for field, value in (("initiator_private", i_private), ("initiator_public", i_public),
                         ("responder_private", r_private), ("responder_public", r_public),
                         ("initiator_ephemeral", i_ephemeral), ("responder_ephemeral", r_ephemeral),
                         ("preshared_key", psk), ("timestamp", stamp), ("initiation", initiation),
                         ("response", response), ("to_responder", to_responder),
                         ("to_initiator", to_initiator), ("packet", packet), ("data", data),
                         ("keepalive", keepalive)):
        print(f"{name}.{field} {value.hex()}")
    return initiation, r_public


def cookie(initiation, r_public):
    secret, nonce = hash_(b"secret of the cookies"), hash_(b"nonce")[:24]
    source = bytes([192, 0, 2, 7]) + struct.pack(">H", 40001)
    value = mac(secret, source)
    sealed = xaead(hash_(b"cookie--", r_public), nonce, value, initiation[116:132])
    reply = b"\x03\0\0\0" + initiation[4:8] + nonce + sealed
    print(f"cookie.secret {secret.hex()}\ncookie.nonce {nonce.hex()}\ncookie.reply {reply.hex()}")
    print(f"cookie.initiation {with_macs(initiation[:116], r_public, value).hex()}")


check_published_vectors()
handshake("psk", bytes(range(201, 233)))
cookie(*handshake("plain", bytes(32)))
