#!/usr/bin/env python3
"""Known answers for everything that is sealed, computed from docs/archive-format.md and docs/keys.md alone.

Shares no code and no language with protocol/: HKDF is written out with hmac, scrypt is hashlib's, AES-256-GCM that of
the package `cryptography`. Writes protocol/vectors/sealed/*.json, or the same files into another directory.

    python3 test/protocol/vectors/seal-vectors.py [DIRECTORY]
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys
import zlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEALED = pathlib.Path(__file__).resolve().parents[3] / "protocol" / "vectors" / "sealed"
OUT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else SEALED


def counting(start, count):
    return bytes((start + i) & 0xFF for i in range(count))


MASTER = counting(0x10, 32)
ARCHIVE = counting(0xA0, 16)
VOLUME = counting(0xB0, 16)
SESSION = counting(0xC0, 16)
GROUP = counting(0xE0, 16)
SALT = counting(0x51, 16)
TAKEN_AT = 1795428900000


def hkdf(key, info, salt=ARCHIVE):
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def gcm(key, nonce, associated, plaintext):
    return AESGCM(key).encrypt(nonce, plaintext, associated)


def text(value):
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


K_META = hkdf(MASTER, b"sparsebak volume metadata v1" + VOLUME)
K_GROUP = hkdf(MASTER, b"sparsebak group v1" + GROUP)
ID_KEY = hkdf(K_GROUP, b"sparsebak chunk id v1")


def mac(info, *parts):
    return hmac.new(hkdf(MASTER, info), b"".join(parts), hashlib.sha256).digest()


def plain_file(kind, generation, body):
    """F7, F8: a file of the archive itself, which is not sealed."""
    whole = prefix(kind, generation, protection=0, volume=bytes(16), salt=bytes(16)) + body
    return whole + hashlib.sha256(whole).digest()


def prefix(kind, generation, protection=1, volume=VOLUME, salt=SALT):
    return (
        b"SPRSBK\r\n"
        + struct.pack(">HHH", 1, kind, protection)
        + ARCHIVE
        + volume
        + struct.pack(">Q", generation)
        + salt
    )


def sealed_file(kind, generation, public, body):
    """F9: prefix, public part, segments of 64 KiB, SHA-256."""
    head = prefix(kind, generation)
    key = hkdf(K_META, struct.pack(">H", kind) + SALT)
    associated = head + hashlib.sha256(public).digest()
    segments = [body[i : i + 65536] for i in range(0, len(body), 65536)] or [b""]
    whole = head + public
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        nonce = bytes([1 if last else 0, 0, 0, 0]) + struct.pack(">Q", number)
        whole += gcm(key, nonce, associated, segment)
    return whole + hashlib.sha256(whole).digest()


def container():
    return (
        SESSION
        + text("S_20261123-101500")
        + b"\x01"
        + b"\x11" * 32  # header digest
        + struct.pack(">Q", 0)  # list generation
        + b"\x22" * 32
        + struct.pack(">Q", 2)  # manifest generation
        + b"\x33" * 32
        + struct.pack(">QQ", 3, 4096)
    )


def index():
    public = struct.pack(">I", 1) + container()
    session = (
        SESSION
        + struct.pack(">QQQ", 1, TAKEN_AT, 393216)
        + b"\x44" * 32
        + b"\x02"  # crash
        + b"\x00"
        + struct.pack(">I", 1)
        + text("before-upgrade")
    )
    body = text("vm-work-private") + GROUP + struct.pack(">I", 1) + session
    return {"bytes": sealed_file(4, 2, public, body), "name": "vm-work-private", "tag": "before-upgrade"}


def header():
    body = (
        SESSION
        + struct.pack(">Q", 1)
        + text("S_20261123-101500")
        + text("vm-work-private")
        + struct.pack(">QQI", TAKEN_AT, 393216, 131072)
        + b"\x02"
        + b"\x44" * 32
    )
    return {"bytes": sealed_file(5, 2, b"", body), "volumeName": "vm-work-private"}


def record(address, run, container_number, stored_address, length, chunk_id, checksum):
    return (
        struct.pack(">QIIQI", address, run, container_number, stored_address, length) + chunk_id + checksum
    )


def manifest_body(records):
    return (
        SESSION
        + struct.pack(">QII", 131072 * 2000, 131072, 0)
        + struct.pack(">Q", len(records))
        + b"".join(records)
    )


def manifest():
    hole = struct.pack(">QII", 131072, 7, 0xFFFFFFFF) + bytes(76)
    records = [record(0, 1, 0, 0, 77, b"\x55" * 32, b"\x66" * 32), hole]
    return {"bytes": sealed_file(6, 2, b"", manifest_body(records)), "records": 2}


def long_manifest():
    """More than two segments, so that it is too long to be kept: its length and its SHA-256 are."""
    records = [
        record(131072 * i, 1, 0, 131072 * i, 100 + i, struct.pack(">I", i + 1) * 8, struct.pack(">I", i + 7) * 8)
        for i in range(1500)
    ]
    whole = sealed_file(6, 2, b"", manifest_body(records))
    return {"records": 1500, "length": len(whole), "sha256": hashlib.sha256(whole).digest()}


def exact_segments():
    """A body of exactly two segments has two, and no empty third."""
    body = bytes((i * 7 + (i >> 8)) & 0xFF for i in range(2 * 65536))
    whole = sealed_file(6, 2, b"", body)
    empty = sealed_file(6, 2, b"", b"")
    return {"length": len(whole), "sha256": hashlib.sha256(whole).digest(), "empty": empty}


def chunk():
    plaintext = b"the plaintext of a chunk"
    chunk_id = hmac.new(ID_KEY, plaintext, hashlib.sha256).digest()
    # What stands for a zstd frame: sealing does not look into it.
    frame = b"\x28\xb5\x2f\xfd" + plaintext
    key = hkdf(K_GROUP, b"chunk" + SALT)
    stored = []
    for counter in range(2):
        nonce = struct.pack(">IQ", 0, counter)
        one = SALT + nonce + gcm(key, nonce, ARCHIVE + b"chunk" + chunk_id, frame)
        stored.append(one + struct.pack(">I", zlib.crc32(one)))
    return {
        "plaintext": plaintext,
        "frame": frame,
        "id": chunk_id,
        "first": stored[0],
        "second": stored[1],
        "checksum": hashlib.sha256(stored[0]).digest(),
    }


def slot():
    passphrase = "correct horse b\u00e4ttery"
    salt, nonce = counting(0x61, 16), counting(0x71, 12)
    out = hashlib.scrypt(passphrase.encode(), salt=salt, n=2**12, r=8, p=1, maxmem=64 << 20, dklen=64)
    commitment = hashlib.sha256(b"sparsebak slot commitment v1" + ARCHIVE + out[32:]).digest()
    return {
        "passphrase": passphrase,
        "decomposed": "correct horse ba\u0308ttery",
        "logN": 12,
        "salt": salt,
        "nonce": nonce,
        "wrapped": gcm(out[:32], nonce, ARCHIVE, MASTER),
        "commitment": commitment,
    }


def archive_header():
    """F11: the MAC is of all from the chunk size to the last slot."""
    one = slot()
    packed = b"\x0c\x08\x01" + one["salt"] + one["nonce"] + one["wrapped"] + one["commitment"]
    body = struct.pack(">IBBBQ", 131072, 1, 3, 1, TAKEN_AT) + bytes(32) + struct.pack(">I", 1) + packed
    code = mac(b"sparsebak archive header v1", body)
    return {"bytes": plain_file(1, 0, body + code), "mac": code}


def head():
    """F13 to F15: head 2, with the log of both generations; its MAC begins with the generation."""
    generation = struct.pack(">Q", 2)
    before = b"\x77" * 32
    named = struct.pack(">QQ", TAKEN_AT, 0) + archive_header()["bytes"][-32:] + struct.pack(">I", 1)
    named += VOLUME + text(VOLUME.hex()) + generation + b"\x88" * 32
    chain = hashlib.sha256(b"sparsebak chain v1" + ARCHIVE + generation + before + named).digest()
    log = b"".join(
        mac(b"sparsebak log v1", struct.pack(">Q", i), each)[:8] for i, each in ((1, before), (2, chain))
    )
    body = named + before + chain + struct.pack(">I", 2) + log
    code = mac(b"sparsebak head v1", generation, body)
    return {"bytes": plain_file(2, 2, body + code), "mac": code, "chain": chain}


BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def base32(raw):
    bits = "".join(f"{byte:08b}" for byte in raw)
    bits += "0" * (-len(bits) % 5)
    return "".join(BASE32[int(bits[i : i + 5], 2)] for i in range(0, len(bits), 5))


def grouped(value, per_line):
    groups = [value[i : i + 4] for i in range(0, len(value), 4)]
    return "\n".join("-".join(groups[i : i + per_line]) for i in range(0, len(groups), per_line))


def recovery():
    check = hashlib.sha256(b"sparsebak recovery form v1" + MASTER).digest()[:3]
    return {"text": grouped(base32(MASTER + check), 14)}


def read_key():
    whole = b"SPBKRKEY" + struct.pack(">H", 1) + ARCHIVE + VOLUME + K_META + GROUP + K_GROUP
    whole += hashlib.sha256(whole).digest()[:3]
    return {"bytes": whole, "text": grouped(base32(whole), 10)}


def receipt():
    log_key = hkdf(MASTER, b"sparsebak log v1")
    chain = b"\x77" * 32
    generation = 74_565
    entry = hmac.new(log_key, struct.pack(">Q", generation) + chain, hashlib.sha256).digest()[:8]
    bits = f"{generation:020b}" + "".join(f"{byte:08b}" for byte in entry)[:55]
    first75 = int(bits + "0" * 5, 2).to_bytes(10, "big")
    check = hashlib.sha256(b"sparsebak receipt v1" + first75).digest()[0] >> 3
    code = base32((int.from_bytes(first75, "big") | check).to_bytes(10, "big"))
    return {"generation": generation, "chain": chain, "entry": entry, "text": grouped(code, 4)}


def keys():
    return {
        "master": MASTER,
        "archive": ARCHIVE,
        "volume": VOLUME,
        "session": SESSION,
        "group": GROUP,
        "salt": SALT,
        "metaKey": K_META,
        "groupKey": K_GROUP,
        "idKey": ID_KEY,
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    vectors = {
        "keys": keys(),
        "index": index(),
        "header": header(),
        "manifest": manifest(),
        "long-manifest": long_manifest(),
        "exact-segments": exact_segments(),
        "chunk": chunk(),
        "slot": slot(),
        "archive-header": archive_header(),
        "head": head(),
        "recovery-form": recovery(),
        "read-key": read_key(),
        "receipt": receipt(),
    }
    for name, fields in vectors.items():
        plain = {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}
        (OUT / f"{name}.json").write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


main()
