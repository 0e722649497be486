#!/usr/bin/env python3
"""Compares two TenSEAL vectors on a veilface server, which sees neither of them nor the distance.

    open("public.bin", "wb").write(context.serialize())   # TenSEAL, on your side; without save_secret_key=True
    open("v1.bin", "wb").write(ts.ckks_vector(context, embedding).serialize())

    python3 tenseal_compare.py public.bin v1.bin v2.bin --output d.bin --secret secret.bin

The files may also hold base64 text, as `base64.b64encode(...)` writes it. The reply is again a TenSEAL vector. The secret context
(`context.serialize(save_secret_key=True)`) is only used here, to decrypt the reply; it needs the package tenseal.
"""

import argparse
import base64
import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from veilface_grpc import CALL_TIMEOUT_S, Refused, add_server_flags, connect, run, tenseal_proto, veilface

CHUNK_BYTES = 1 << 20  # the most that a KeyChunk may carry
MOST_CONTEXT_BYTES = 64 << 20  # the most key material that a server takes
UPLOAD_TIMEOUT_S = 300  # a public context is 35 MB with the tutorial's parameters
SEAL_MAGIC = b"\x5e\xa1"  # begins everything that SEAL serialises


def read_tenseal_file(path: Path) -> bytes:
    """The bytes that TenSEAL serialised, whether the file has them raw or in base64."""
    data = path.read_bytes()
    if not re.fullmatch(rb"[A-Za-z0-9+/=\s]+", data):
        return data
    try:
        return base64.b64decode(data)
    except ValueError:
        raise Refused(f"{path} is neither a file of TenSEAL nor base64 of one") from None


def read_public_context(path: Path) -> bytes:
    """A TenSEAL context that may leave the house."""
    data = read_tenseal_file(path)
    try:
        context = tenseal_proto.TenSEALContextProto.FromString(data)
    except DecodeError:
        raise Refused(f"{path} is not a TenSEAL context: expected what context.serialize() returns") from None
    refuse_secret_key(path, context)
    if not context.public_context.galois_keys:
        raise Refused(f"{path} has no Galois keys: where the secret key is, call context.generate_galois_keys(), then context.serialize()")
    if len(data) > MOST_CONTEXT_BYTES:
        raise Refused(f"{path} has {len(data)} bytes: a server takes {MOST_CONTEXT_BYTES}; upload it once with"
                      " veilface tenseal upload FILE --dimension D, and compare with veilface tenseal compare")
    return data


def refuse_secret_key(path: Path, context) -> None:
    if context.HasField("private_context"):
        raise Refused(f"{path} holds the secret key, and nothing of it was sent: write it with context.serialize(), without save_secret_key=True")


def read_vector(path: Path) -> bytes:
    """A TenSEAL CKKS vector of one ciphertext."""
    data = read_tenseal_file(path)
    try:
        ciphertexts = tenseal_proto.CKKSVectorProto.FromString(data).ciphertexts
    except DecodeError:
        ciphertexts = []
    if len(ciphertexts) != 1 or not ciphertexts[0].startswith(SEAL_MAGIC):
        raise Refused(f"{path} is not a TenSEAL CKKS vector in one ciphertext: expected what ts.ckks_vector(context, v).serialize() returns")
    return data


def upload_messages(context: bytes) -> Iterator[object]:
    """First what will come, with its hash; then the bytes in order, at most 1 MiB at a time."""
    material = veilface.KEY_MATERIAL_TENSEAL_CONTEXT
    announcement = veilface.KeyUpload(material=material, total_bytes=len(context), sha256=hashlib.sha256(context).digest())
    # An empty PairwiseScheme: parameters and scale are in the TenSEAL context.
    new_context = veilface.NewContext(context=veilface.Context(pairwise=veilface.PairwiseScheme()), key_uploads=[announcement])
    yield veilface.CreateContextRequest(new_context=new_context)
    for offset in range(0, len(context), CHUNK_BYTES):
        chunk = veilface.KeyChunk(material=material, offset=offset, data=context[offset : offset + CHUNK_BYTES])
        yield veilface.CreateContextRequest(key_chunk=chunk)


def ciphertext(context_id: str, data: bytes) -> object:
    encoding = veilface.CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR
    return veilface.Ciphertext(context_id=context_id, encoding=encoding, data=data, sha256=hashlib.sha256(data).digest())


def compare(channel, context_id: str, vectors: list[bytes], operation: int, norm_bound: float) -> bytes:
    """The encrypted comparison, as a TenSEAL vector of one component."""
    first, second = (ciphertext(context_id, vector) for vector in vectors)
    request = veilface.CompareCiphertextsRequest(first=first, second=second, operation=operation, norm_bound=norm_bound)
    reply = veilface.MatchingServiceStub(channel).CompareCiphertexts(request, timeout=CALL_TIMEOUT_S).distance
    if hashlib.sha256(reply.data).digest() != reply.sha256:
        raise Refused("the reply was damaged on its way: ask again")
    return reply.data


def decrypt(reply: bytes, secret: bytes) -> float | None:
    """The comparison in the clear, or None where the package tenseal is not installed."""
    try:
        import tenseal as ts
    except ImportError:
        return None
    vector = ts.lazy_ckks_vector_from(reply)
    vector.link_context(ts.context_from(secret))
    return vector.decrypt()[0]


def report(flags: argparse.Namespace, reply: bytes) -> None:
    value = decrypt(reply, read_tenseal_file(flags.secret)) if flags.secret else None
    if value is None:
        print("decrypt it where the secret context is, in Python with the package tenseal:")
        print(f'  v = ts.lazy_ckks_vector_from(open("{flags.output}", "rb").read())')
        print('  v.link_context(ts.context_from(open("secret.bin", "rb").read()))')
        print("  v.decrypt()[0]")
    elif flags.operation == "INNER_PRODUCT":
        print(f"inner product {value:.7f}")
    else:
        print(f"squared distance {value:.7f}, distance {math.sqrt(max(value, 0)):.7f}")


def parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("context", type=Path, help="the public TenSEAL context, with Galois keys")
    parser.add_argument("vectors", type=Path, nargs=2, metavar="vector", help="an encrypted TenSEAL CKKS vector of that context")
    parser.add_argument("--output", "-o", type=Path, default=Path("d.bin"), metavar="FILE", help="where the reply goes (default: %(default)s)")
    parser.add_argument("--secret", type=Path, metavar="FILE", help="the secret TenSEAL context; it stays on this machine")
    parser.add_argument("--operation", choices=["SQUARED_DISTANCE", "INNER_PRODUCT"], default="SQUARED_DISTANCE", help="default: %(default)s")
    parser.add_argument("--norm-bound", type=float, default=0, metavar="R", help="the largest norm of either vector, if known: about twice as fast")
    parser.add_argument("--delete", action="store_true", help="delete the context from the server at the end")
    add_server_flags(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_flags()
    # Everything is read and looked at before anything is sent.
    context, vectors = read_public_context(flags.context), [read_vector(path) for path in flags.vectors]
    operation = veilface.PairwiseOperation.Value(f"PAIRWISE_OPERATION_{flags.operation}")
    with connect(flags) as channel:
        contexts = veilface.ContextServiceStub(channel)
        # Once for each key: the id is made from the content, so a context that the server has already is found, not stored twice.
        created = contexts.CreateContext(upload_messages(context), timeout=UPLOAD_TIMEOUT_S).context
        scheme = created.pairwise
        print(f"context {created.context_id}: N = {scheme.poly_modulus_degree}, vectors of up to {scheme.max_dimension} components")
        try:
            reply = compare(channel, created.context_id, vectors, operation, flags.norm_bound)
        finally:
            if flags.delete:
                contexts.DeleteContext(veilface.DeleteContextRequest(context_id=created.context_id), timeout=CALL_TIMEOUT_S)
    flags.output.write_bytes(reply)
    print(f"{flags.output}: {len(reply)} bytes, a TenSEAL vector of one component")
    report(flags, reply)


if __name__ == "__main__":
    run(main)
