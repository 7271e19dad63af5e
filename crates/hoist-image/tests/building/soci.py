"""Reads a layer through its zTOC, with nothing of hoist: the FlatBuffer by its specification, the content by zlib from each checkpoint.

Usage: soci.py ZTOC LAYER; prints a JSON object of files with their kind, sha256 and link.
"""
import hashlib
import json
import struct
import sys
import zlib


class Table:
    def __init__(self, data, at):
        self.data, self.at = data, at
        self.shape = at - struct.unpack_from("<i", data, at)[0]

    def place(self, index):
        size = struct.unpack_from("<H", self.data, self.shape)[0]
        if 4 + 2 * index >= size:
            return None
        offset = struct.unpack_from("<H", self.data, self.shape + 4 + 2 * index)[0]
        return self.at + offset if offset else None

    def number(self, index, form):
        at = self.place(index)
        return struct.unpack_from("<" + form, self.data, at)[0] if at else 0

    def target(self, index):
        at = self.place(index)
        return at + struct.unpack_from("<I", self.data, at)[0] if at else None

    def table(self, index):
        return Table(self.data, self.target(index))

    def bytes(self, index):
        at = self.target(index)
        if at is None:
            return b""
        size = struct.unpack_from("<I", self.data, at)[0]
        return self.data[at + 4 : at + 4 + size]

    def vector(self, index):
        at = self.target(index)
        if at is None:
            return []
        count = struct.unpack_from("<I", self.data, at)[0]
        places = [at + 4 + 4 * i for i in range(count)]
        return [p + struct.unpack_from("<I", self.data, p)[0] for p in places]


def main():
    ztoc = open(sys.argv[1], "rb").read()
    layer = open(sys.argv[2], "rb").read()
    root = Table(ztoc, struct.unpack_from("<I", ztoc, 0)[0])
    assert root.bytes(0) == b"0.9", root.bytes(0)
    assert root.bytes(1).startswith(b"hoist "), root.bytes(1)
    assert root.number(2, "q") == len(layer)
    plain = zlib.decompress(layer, 31)
    assert root.number(3, "q") == len(plain)

    info = root.table(5)
    assert info.number(0, "b") == 1
    points = info.bytes(3)
    count, span = struct.unpack_from("<iq", points)
    assert len(points) == 12 + count * (17 + 32768)
    assert info.number(1, "i") == count - 1
    spans = []
    for i in range(count):
        at = 12 + i * (17 + 32768)
        start, out, bits = struct.unpack_from("<qqB", points, at)
        assert bits == 0
        spans.append((start, out, points[at + 17 : at + 17 + 32768]))
    assert spans[0][:2] == (10, 0)
    ends = [start for start, _, _ in spans[1:]] + [len(layer)]
    digests = [Table(ztoc, 0).data[at + 4 : at + 4 + 71].decode() for at in info.vector(2)]
    assert len(digests) == count
    for (start, _, _), end, digest in zip(spans, ends, digests):
        assert digest == "sha256:" + hashlib.sha256(layer[start:end]).hexdigest()

    def read(offset, size):
        """As a lazy reader does: only from the checkpoint before the file on."""
        start, out, window = [s for s in spans if s[1] <= offset][-1]
        inflate = zlib.decompressobj(-15, zdict=window)
        content = inflate.decompress(layer[start:], offset - out + size)
        return content[offset - out :]

    files = {}
    for at in root.table(4).vector(0):
        entry = Table(ztoc, at)
        kind = entry.bytes(1).decode()
        size = entry.number(3, "q")
        content = read(entry.number(2, "q"), size) if size else b""
        assert len(content) == size
        files[entry.bytes(0).decode()] = {
            "kind": kind,
            "sha256": hashlib.sha256(content).hexdigest(),
            "link": entry.bytes(4).decode(),
            "mode": entry.number(5, "q"),
            "uid": entry.number(6, "I"),
            "time": entry.bytes(10).decode(),
            "spans": count,
        }
    print(json.dumps(files))


main()
