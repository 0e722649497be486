#!/usr/bin/env python3
"""The packed scheme without SEAL and without veilface's code: the mathematics in packed_scheme.py, the conversation here.

Makes a key, enrolls a few people on a veilface server, verifies one, searches for another, and shows each decrypted distance beside the
plain one. Written from docs/wire-format.md. A demonstration: see packed_scheme.py for what it does not take care of.
"""

import argparse
import hashlib
import json
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

from packed_scheme import KeyHolder, LooseLayout, unit
from veilface_grpc import CALL_TIMEOUT_S, Refused, add_server_flags, connect, run, veilface

SEED = 20  # of the embeddings, never of anything secret
DIMENSION = 128
TOLERANCE = 1e-5
MODEL_ID = "packed-match-example"

People = dict[str, list[list[float]]]  # two embeddings each: one to enroll, one to ask with


class Gallery:
    """A gallery of one template a person, and its roster: who lies where ("Conversations")."""

    def __init__(self, channel, dimension: int) -> None:
        self._contexts = veilface.ContextServiceStub(channel)
        self._galleries = veilface.GalleryServiceStub(channel)
        self._matching = veilface.MatchingServiceStub(channel)
        self._keys, self._layout = KeyHolder(), LooseLayout(dimension)
        self._space = veilface.EmbeddingSpace(dimension=dimension, metric=veilface.METRIC_COSINE, model_id=MODEL_ID, norm_bound=1)
        self._gallery_id = f"example-{secrets.token_hex(8)}"
        self._roster: dict[tuple[int, int], str] = {}

    def create(self) -> None:
        scheme = veilface.PackedScheme(parameter_set=veilface.PARAMETER_SET_PACKED_N4096_Q60, key_id=self._keys.key_id)
        request = veilface.CreateContextRequest(new_context=veilface.NewContext(context=veilface.Context(packed=scheme)))
        created = self._contexts.CreateContext(iter([request]), timeout=CALL_TIMEOUT_S).context
        if created.context_id != self._keys.context_id:
            raise Refused("the server names the context differently")
        gallery = veilface.Gallery(gallery_id=self._gallery_id, context_id=created.context_id, space=self._space)
        self._galleries.CreateGallery(veilface.CreateGalleryRequest(gallery=gallery), timeout=CALL_TIMEOUT_S)

    def delete(self) -> None:
        """Deletes the context, and with it the gallery."""
        request = veilface.DeleteContextRequest(context_id=self._keys.context_id, force=True)
        self._contexts.DeleteContext(request, timeout=CALL_TIMEOUT_S)

    def enroll(self, embeddings: dict[str, list[float]]) -> None:
        # Read while sending: each answer says that one template is durable, and where it lies.
        for answer in self._galleries.EnrollTemplates(self._enrollment(embeddings), timeout=CALL_TIMEOUT_S):
            entry = answer.template.entry
            self._roster[entry.placement.block, entry.placement.slot] = entry.subject_id

    def verify(self, name: str, embedding: list[float]) -> float:
        """The smallest distance to the templates of one person."""
        target = veilface.CompareTarget(gallery_id=self._gallery_id, subject_id=name, space=self._space)
        requests = [veilface.CompareTemplatesRequest(target=target), veilface.CompareTemplatesRequest(pieces=self._probe(embedding))]
        distances = []
        for answer in self._matching.CompareTemplates(iter(requests), timeout=CALL_TIMEOUT_S):
            if not answer.HasField("comparison"):
                continue  # the first message has the gallery and the strides, which are known here
            coefficients = self._decrypt(answer.comparison.distances.ciphertext)
            distances += [self._layout.distance(coefficients, entry.placement.slot) for entry in answer.comparison.entries]
        return min(distances)

    def search(self, embedding: list[float]) -> dict[str, float]:
        """The distance to everybody, nearest first."""
        target = veilface.SearchTarget(gallery_id=self._gallery_id, space=self._space)
        requests = [veilface.SearchGalleryRequest(target=target), veilface.SearchGalleryRequest(pieces=self._probe(embedding))]
        distances = {}
        for answer in self._matching.SearchGallery(iter(requests), timeout=CALL_TIMEOUT_S):
            if not answer.HasField("distances"):
                continue  # the first messages have the gallery and its revision; nobody else changes this one
            coefficients = self._decrypt(answer.distances.ciphertext)
            for (block, slot), name in self._roster.items():
                if block == answer.distances.block:
                    distances[name] = self._layout.distance(coefficients, slot)
        return dict(sorted(distances.items(), key=lambda item: item[1]))

    def _enrollment(self, embeddings: dict[str, list[float]]) -> Iterator[object]:
        yield veilface.EnrollTemplatesRequest(target=veilface.EnrollTarget(gallery_id=self._gallery_id, space=self._space))
        for name, embedding in embeddings.items():
            ciphertext = self._encrypt(self._layout.template(embedding))
            template = veilface.LooseTemplate(template_id=f"{name}-1", subject_id=name, ciphertext=ciphertext)
            yield veilface.EnrollTemplatesRequest(template=template)

    def _probe(self, embedding: list[float]) -> object:
        """All templates are enrolled alone, so that the gallery's only stride is the dimension, and a probe is one piece."""
        ciphertext = self._encrypt(self._layout.probe(embedding))
        return veilface.ProbePieces(pieces=[veilface.ProbePiece(stride=self._layout.stride, piece=0, ciphertext=ciphertext)])

    def _encrypt(self, polynomial: list[int]) -> object:
        data = self._keys.encrypt(polynomial)
        encoding = veilface.CIPHERTEXT_ENCODING_PACKED_RESIDUES
        return veilface.Ciphertext(context_id=self._keys.context_id, encoding=encoding, data=data, sha256=hashlib.sha256(data).digest())

    def _decrypt(self, ciphertext) -> list[int]:
        if ciphertext.context_id != self._keys.context_id or hashlib.sha256(ciphertext.data).digest() != ciphertext.sha256:
            raise Refused("a reply is of another context, or was damaged on its way")
        return self._keys.decrypt(ciphertext.data)


def drawn_people() -> People:
    """Three random people, each seen twice, at a cosine distance of about 0.2."""
    draw = random.Random(SEED)

    def direction() -> list[float]:
        return unit([draw.gauss(0, 1) for _ in range(DIMENSION)])

    def again(first: list[float]) -> list[float]:
        return [x + 0.75 * y for x, y in zip(first, direction())]

    return {name: [first, again(first)] for name, first in ((name, direction()) for name in ("ada", "grace", "edsger"))}


def read_people(path: Path) -> People:
    try:
        people = {name: [[float(x) for x in embedding] for embedding in seen] for name, seen in json.loads(path.read_text()).items()}
    except (AttributeError, TypeError, ValueError):
        people = {}
    embeddings = [embedding for seen in people.values() for embedding in seen]
    alike = len({len(embedding) for embedding in embeddings}) == 1 and all(any(embedding) for embedding in embeddings)
    if len(people) < 2 or not alike or any(len(seen) != 2 for seen in people.values()):
        raise Refused(f"{path} must be a JSON object of two or more people with two embeddings each, all of one length and none of them zero")
    return people


def show(name: str, encrypted: float, plain: float) -> float:
    difference = abs(encrypted - plain)
    print(f"  {name:12} {encrypted:10.7f} {plain:10.7f} {difference:10.1e}")
    return difference


def demonstrate(gallery: Gallery, people: People) -> float:
    """Enrolls everybody's first embedding and asks with second ones. Returns the largest difference from a plain distance."""

    def plain(name: str, probe: list[float]) -> float:
        return 1 - sum(x * y for x, y in zip(unit(people[name][0]), unit(probe)))

    gallery.enroll({name: enrolled for name, (enrolled, _) in people.items()})
    print(f"enrolled {', '.join(people)}\n\n{'':14}  encrypted      plain difference")
    claimed, searched, *_ = people
    probe = people[claimed][1]
    print(f"is it {claimed}?")
    differences = [show(claimed, gallery.verify(claimed, probe), plain(claimed, probe))]
    probe = people[searched][1]
    print(f"who is it? (it is {searched})")
    found = gallery.search(probe)
    if found.keys() != people.keys():
        raise Refused(f"the search answered for {', '.join(found) or 'nobody'} alone")
    differences += [show(name, distance, plain(name, probe)) for name, distance in found.items()]
    return max(differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shape = 'JSON: {"ada": [[...], [...]], "grace": ...}, two embeddings a person (default: random ones)'
    parser.add_argument("--embeddings", type=Path, metavar="FILE", help=shape)
    add_server_flags(parser)
    flags = parser.parse_args()
    people = read_people(flags.embeddings) if flags.embeddings else drawn_people()
    with connect(flags) as channel:
        gallery = Gallery(channel, dimension=len(next(iter(people.values()))[0]))
        gallery.create()
        try:
            worst = demonstrate(gallery, people)
        finally:
            gallery.delete()
    if not worst <= TOLERANCE:
        raise Refused(f"an encrypted distance differs from the plain one by {worst:.1e}: expected at most {TOLERANCE:.0e}")
    print(f"\nall within {worst:.1e} of the plain distances; the gallery and its context are deleted again")


if __name__ == "__main__":
    run(main)
