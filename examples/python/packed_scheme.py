"""The packed scheme in plain Python: its key, its encryption, its layout and its bytes, after docs/wire-format.md.

The section titles of that page are in the comments. Nothing here knows of a network. A demonstration: the sampling and the arithmetic
take no care of side channels, so that others on the machine may learn the key from the time they take. Use SEAL where it matters.
"""

import hashlib
import math
import secrets
from collections.abc import Iterable

# "Parameter sets": PACKED_N4096_Q60. "Ring and transform": psi of each prime.
PARAMETER_SET = "PACKED_N4096_Q60"
DEGREE = 4096
PSI = {1073668097: 106172, 1073692673: 236231}
PRIMES = list(PSI)
MODULUS = math.prod(PRIMES)

Polynomial = list[int]


class Ring:
    """Polynomials modulo X^4096 + 1 and one prime, to NTT form and back ("Ring and transform")."""

    def __init__(self, prime: int) -> None:
        self.prime = prime
        self._roots = self._powers(PSI[prime])
        self._inverse_roots = self._powers(pow(PSI[prime], -1, prime))

    def forward(self, coefficients: Polynomial) -> Polynomial:
        p, a = self.prime, [c % self.prime for c in coefficients]
        span = DEGREE
        while span > 1:
            span //= 2
            groups = DEGREE // (2 * span)
            for g in range(groups):
                w = self._roots[groups + g]
                for j in range(2 * g * span, (2 * g + 1) * span):
                    u, v = a[j], a[j + span] * w
                    a[j], a[j + span] = (u + v) % p, (u - v) % p
        return a

    def inverse(self, values: Polynomial) -> Polynomial:
        p, a = self.prime, list(values)
        span = 1
        while span < DEGREE:
            groups = DEGREE // (2 * span)
            for g in range(groups):
                w = self._inverse_roots[groups + g]
                for j in range(2 * g * span, (2 * g + 1) * span):
                    u, v = a[j], a[j + span]
                    a[j], a[j + span] = (u + v) % p, (u - v) * w % p
            span *= 2
        scale = pow(DEGREE, -1, p)
        return [x * scale % p for x in a]

    def _powers(self, base: int) -> list[int]:
        """base^br(k) for k = 0 ... 4095, where br reverses 12 bits."""
        return [pow(base, int(f"{k:012b}"[::-1], 2), self.prime) for k in range(DEGREE)]


RINGS = [Ring(prime) for prime in PRIMES]


class KeyHolder:
    """The secret key and what is done with it: encryption, decryption, and nothing else."""

    def __init__(self) -> None:
        # "Key"
        ternary = [secrets.randbelow(3) - 1 for _ in range(DEGREE)]
        self._secret = [ring.forward(ternary) for ring in RINGS]
        self.key_id = secrets.token_bytes(32)
        # "Context"
        self.context_id = hashlib.sha256(f"veilface.v1 packed {PARAMETER_SET} {self.key_id.hex()}\n".encode()).hexdigest()

    def encrypt(self, message: Polynomial) -> bytes:
        """A fresh ciphertext of a polynomial of whole coefficients, in packed residues ("Encryption")."""
        error = [secrets.randbits(21).bit_count() - secrets.randbits(21).bit_count() for _ in range(DEGREE)]
        noisy = [m - e for m, e in zip(message, error)]
        c0, c1 = [], []
        for ring, secret in zip(RINGS, self._secret):
            mask = [secrets.randbelow(ring.prime) for _ in range(DEGREE)]
            c0.append([(m - a * s) % ring.prime for m, a, s in zip(ring.forward(noisy), mask, secret)])
            c1.append(mask)
        return pack(c0 + c1)

    def decrypt(self, product: bytes) -> Polynomial:
        """The 4096 coefficients of a reply in packed residues ("Reading a reply")."""
        polynomials = unpack(product)
        if len(polynomials) != 3 * len(RINGS):
            raise ValueError(f"a reply has three components modulo each of {len(RINGS)} primes: got {len(polynomials)} polynomials")
        components = zip(polynomials[0:2], polynomials[2:4], polynomials[4:6])
        r0, r1 = (
            ring.inverse([(x0 + (x1 + x2 * s) * s) % ring.prime for x0, x1, x2, s in zip(c0, c1, c2, secret)])
            for ring, secret, (c0, c1, c2) in zip(RINGS, self._secret, components)
        )
        q0, q1 = PRIMES
        h = pow(q0, -1, q1)
        joined = (x0 + q0 * ((x1 - x0) * h % q1) for x0, x1 in zip(r0, r1))
        return [x - MODULUS if x > MODULUS // 2 else x for x in joined]


def pack(polynomials: list[Polynomial]) -> bytes:
    """30 bits a value, four values in 15 bytes ("Bytes")."""
    fours = (values[at : at + 4] for values in polynomials for at in range(0, DEGREE, 4))
    return b"".join((a | b << 30 | c << 60 | d << 90).to_bytes(15, "little") for a, b, c, d in fours)


def unpack(data: bytes) -> list[Polynomial]:
    fours = (int.from_bytes(data[at : at + 15], "little") for at in range(0, len(data), 15))
    values = [four >> shift & (1 << 30) - 1 for four in fours for shift in (0, 30, 60, 90)]
    return [values[at : at + DEGREE] for at in range(0, len(values), DEGREE)]


def unit(vector: list[float]) -> list[float]:
    """The vector of the cosine metric ("Embeddings to vectors")."""
    norm = math.sqrt(sum(x * x for x in vector))
    return [x / norm for x in vector]


class LooseLayout:
    """Templates enrolled alone: the stride is the dimension, one polynomial has all of it ("Scales", "Vectors to polynomials")."""

    def __init__(self, dimension: int) -> None:
        self.stride = dimension
        # At this stride C = Ls, so both factors are the square root of M.
        self._scale = math.sqrt(MODULUS / 2 / 1.02)

    def template(self, embedding: list[float]) -> Polynomial:
        return self._polynomial(unit(embedding))

    def probe(self, embedding: list[float]) -> Polynomial:
        return self._polynomial(reversed(unit(embedding)))

    def distance(self, coefficients: Polynomial, slot: int) -> float:
        score = coefficients[slot * self.stride + self.stride - 1] / self._scale**2
        return 1 - score

    def _polynomial(self, vector: Iterable[float]) -> Polynomial:
        scaled = [round(self._scale * x) for x in vector]
        return scaled + [0] * (DEGREE - len(scaled))
