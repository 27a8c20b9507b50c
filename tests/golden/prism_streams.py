"""The named random streams of prism-core/src/stream.rs, in numpy, for the scripts that make golden files.

A stream is a ChaCha20 keystream (RFC 8439, zero nonce, counter from 0) under
SHA-256("prism-stream-v1" 00 PURPOSE 00 seed round client layer index), five little-endian 64-bit numbers.

Run as a program, it checks itself against RFC 8439 and the key that stream.rs tests.
"""

import hashlib
import struct

import numpy as np


def key(purpose, seed, round=0, client=0, layer=0, index=0):
    """The stream's 32 bytes of key."""
    numbers = struct.pack("<5Q", seed, round, client, layer, index)
    return hashlib.sha256(b"prism-stream-v1\0" + purpose.encode() + b"\0" + numbers).digest()


def chacha20(key, count, first_block=0, nonce=bytes(12)):
    """The first `count` bytes of the keystream from block `first_block` on."""
    blocks = -(-count // 64)
    state = np.zeros((16, blocks), np.uint32)
    state[0:4, :] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    state[4:12, :] = np.frombuffer(key, "<u4")[:, None]
    state[12, :] = np.arange(first_block, first_block + blocks, dtype=np.uint64).astype(np.uint32)
    state[13:16, :] = np.frombuffer(nonce, "<u4")[:, None]
    x = state.copy()

    def rotate(value, bits):
        return (value << np.uint32(bits)) | (value >> np.uint32(32 - bits))

    def quarter(a, b, c, d):
        x[a] += x[b]
        x[d] = rotate(x[d] ^ x[a], 16)
        x[c] += x[d]
        x[b] = rotate(x[b] ^ x[c], 12)
        x[a] += x[b]
        x[d] = rotate(x[d] ^ x[a], 8)
        x[c] += x[d]
        x[b] = rotate(x[b] ^ x[c], 7)

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return (x + state).T.astype("<u4").tobytes()[:count]


def uniforms(stream_key, count):
    """Uniform numbers in [0, 1): eight bytes each, shifted right by 11."""
    words = np.frombuffer(chacha20(stream_key, 8 * count), "<u8")
    return (words >> np.uint64(11)).astype(np.float64) / 2.0**53


def normals(stream_key, count):
    """Standard normal numbers by Box and Muller's transform, cosine first."""
    uv = uniforms(stream_key, 2 * -(-count // 2)).reshape(-1, 2)
    radius = np.sqrt(-2.0 * np.log(1.0 - uv[:, 0]))
    angle = 2.0 * np.pi * uv[:, 1]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return pairs.reshape(-1)[:count]


def signs(stream_key, count):
    """+1 where the keystream bit is 1, else -1; bits from each byte's lowest."""
    raw = np.frombuffer(chacha20(stream_key, -(-count // 8)), np.uint8)
    return np.unpackbits(raw, bitorder="little")[:count].astype(np.float64) * 2 - 1


def bernoulli(stream_key, theta):
    """One 0 or 1 for each probability of the f32 array `theta`: a 32-bit draw below floor(theta * 2^32)."""
    draws = np.frombuffer(chacha20(stream_key, 4 * theta.size), "<u4").astype(np.uint64)
    keep = (theta.reshape(-1).astype(np.float64) * 2.0**32).astype(np.uint64)
    return (draws < keep).reshape(theta.shape).astype(np.float32)


if __name__ == "__main__":
    # RFC 8439, section 2.3.2.
    block = chacha20(bytes(range(32)), 64, 1, bytes.fromhex("000000090000004a00000000"))
    assert block.hex().startswith("10f1e7e4d13b5915500fdd1fa32071c4"), block.hex()
    expected = "c714b911da383e5c4c5acb4afdc8f61e04f0d7514eee757ef513ac8f974e4591"
    assert key("sign", 7, layer=2).hex() == expected
    draws = normals(key("test", 3), 100_000)
    assert abs(draws.mean()) < 0.015 and abs(draws.var() - 1) < 0.02
    print("streams agree with RFC 8439 and with stream.rs")
