"""What can be wrong with a NIfTI file: one mutation an entry, and what must come of it."""

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HEADER = 348
REFUSED, SAME, EITHER, OTHER = "refused", "same", "either", "other"
"""What must come of a file: one line that names it; the result of the whole file; one of both; it is another
file, which may be served or refused."""


@dataclass(frozen=True)
class Fault:
    """A mutation.

    Attributes:
        change: the bytes of an unpacked NIfTI file -> the bytes that are put in the file's place, packed already.
        labels: what must come of a label map that is changed so.
        scan: what must come of a CT that is changed so.
    """

    change: Callable[[bytes], bytes]
    labels: str = REFUSED
    scan: str = REFUSED


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def with_field(offset: int, form: str, *values: float) -> Callable[[bytes], bytes]:
    """The file with numbers written into its header."""

    def change(content: bytes) -> bytes:
        head = bytearray(content)
        struct.pack_into("<" + form, head, offset, *values)
        return packed(bytes(head))

    return change


def voxels_of(content: bytes) -> tuple[bytearray, np.ndarray]:
    """Header and extensions, and the voxels as numbers."""
    (code,) = struct.unpack_from("<h", content, 70)
    (start,) = struct.unpack_from("<f", content, 108)
    dtype = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[code]
    return bytearray(content[: int(start)]), np.frombuffer(content[int(start) :], dtype).copy()


def with_voxels(code: int, dtype: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    """The file with other voxels, of another type."""

    def made(content: bytes) -> bytes:
        head, voxels = voxels_of(content)
        changed = change(voxels.astype(dtype)).astype(dtype)
        bits = 8 * changed.dtype.itemsize * (changed.size // voxels.size)
        struct.pack_into("<hh", head, 70, code, bits)
        return packed(bytes(head) + changed.tobytes())

    return made


def one_voxel(value: float, code: int = 64, dtype: str = "<f8") -> Callable[[bytes], bytes]:
    """The file with one voxel of this value."""

    def change(voxels: np.ndarray) -> np.ndarray:
        voxels[voxels.size // 2] = value
        return voxels

    return with_voxels(code, dtype, change)


def swapped(content: bytes) -> bytes:
    """The same file in the other byte order."""
    head, voxels = voxels_of(content)
    fields = [(0, "i"), (32, "i"), (36, "h"), (40, "8h"), (56, "3f"), (68, "4h"), (76, "8f"), (108, "3f"), (120, "h")]
    fields += [(124, "4f"), (140, "2i"), (252, "2h"), (256, "6f"), (280, "12f")]
    for offset, form in fields:
        struct.pack_into(">" + form, head, offset, *struct.unpack_from("<" + form, head, offset))
    return packed(bytes(head) + voxels.byteswap().tobytes())


def with_orientation(qform: int, sform: int) -> Callable[[bytes], bytes]:
    return with_field(252, "hh", qform, sform)


def of_dims(*dims: int) -> Callable[[bytes], bytes]:
    return with_field(40, f"{len(dims)}h", *dims)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: packed(content)[: int(len(packed(content)) * share)]


def flipped(place: float) -> Callable[[bytes], bytes]:
    """One bit of the packed file turned over."""

    def change(content: bytes) -> bytes:
        made = bytearray(packed(content))
        made[int((len(made) - 1) * place)] ^= 16
        return bytes(made)

    return change


FAULTS: dict[str, Fault] = {
    # the file as a whole
    "empty": Fault(lambda _: b""),
    "one byte": Fault(lambda _: b"\x1f"),
    "cut to a tenth": Fault(cut(0.1)),
    "cut to a half": Fault(cut(0.5)),
    "cut by its checksum": Fault(lambda c: packed(c)[:-8]),
    "cut by a byte": Fault(lambda c: packed(c)[:-1]),
    "a wrong checksum": Fault(lambda c: packed(c)[:-8] + b"\0\0\0\0" + packed(c)[-4:]),
    "a wrong length at its end": Fault(lambda c: packed(c)[:-4] + b"\1\0\0\0"),
    "a bit turned over early": Fault(flipped(0.1), EITHER, EITHER),
    "a bit turned over in the middle": Fault(flipped(0.5)),
    "a bit turned over late": Fault(flipped(0.9)),
    "rubbish behind it": Fault(lambda c: packed(c) + b"rubbish", EITHER, EITHER),
    "two members": Fault(lambda c: packed(c[:1000]) + packed(c[1000:]), SAME, SAME),
    "not packed": Fault(lambda c: c, EITHER, EITHER),
    "an error page": Fault(lambda _: b"<html><body>404 Not Found</body></html>"),
    "a packed error page": Fault(lambda _: packed(b"<html>404</html>" * 40)),
    "JSON": Fault(lambda _: b'{"labels": 1}'),
    "zeros": Fault(lambda c: bytes(len(c))),
    "packed zeros": Fault(lambda c: packed(bytes(len(c)))),
    "packed twice": Fault(lambda c: packed(packed(c))),
    "the header alone": Fault(lambda c: packed(c[:HEADER])),
    "half the header": Fault(lambda c: packed(c[:170])),
    "a voxel short": Fault(lambda c: packed(c[:-1])),
    "voxels too many": Fault(lambda c: packed(c + bytes(5000)), EITHER, EITHER),
    # the header
    "a wrong header size": Fault(with_field(0, "i", 999), EITHER, EITHER),
    "another magic": Fault(lambda c: packed(c[:344] + b"abc\0" + c[348:])),
    "the magic of two files": Fault(lambda c: packed(c[:344] + b"ni1\0" + c[348:]), EITHER, EITHER),
    "the other byte order": Fault(swapped, SAME, SAME),
    "no dimension": Fault(with_field(40, "h", 0)),
    "99 dimensions": Fault(with_field(40, "h", 99)),
    "two dimensions": Fault(with_field(40, "h", 2)),
    "a negative edge": Fault(with_field(42, "h", -5)),
    "an edge of no voxels": Fault(with_field(42, "h", 0)),
    "3000 voxels cubed": Fault(of_dims(3, 3000, 3000, 3000)),
    "32767 voxels cubed": Fault(of_dims(3, 32767, 32767, 32767)),
    "a fourth axis of one": Fault(with_field(40, "h", 4), EITHER, EITHER),
    "a longer first edge": Fault(lambda c: with_field(42, "h", struct.unpack_from("<h", c, 42)[0] + 1)(c)),
    "a shorter first edge": Fault(
        lambda c: with_field(42, "h", struct.unpack_from("<h", c, 42)[0] - 1)(c), EITHER, EITHER
    ),
    "a type that is unknown": Fault(with_field(70, "h", 9999)),
    "no type": Fault(with_field(70, "h", 0)),
    "type of a bit a voxel": Fault(with_field(70, "hh", 1, 1)),
    "a wrong width of its type": Fault(with_field(72, "h", 7), EITHER, EITHER),
    "voxels before the header's end": Fault(with_field(108, "f", 12), EITHER, EITHER),
    "voxels far away": Fault(with_field(108, "f", 1e9)),
    "voxels at NaN": Fault(with_field(108, "f", float("nan")), EITHER, EITHER),
    "no orientation": Fault(with_orientation(0, 0), EITHER, EITHER),
    "an unknown orientation code": Fault(with_orientation(9, 9), EITHER, EITHER),
    "a NaN in its affine": Fault(with_field(280, "f", float("nan"))),
    "an infinite affine": Fault(with_field(280, "12f", *[float("inf")] * 12)),
    "an affine of zeros": Fault(with_field(280, "12f", *[0.0] * 12)),
    "a singular affine": Fault(with_field(280, "12f", *[1.0, 1.0, 1.0, 0.0] * 3)),
    "spacing 0": Fault(lambda c: with_orientation(1, 0)(_spaced(c, 0.0)), EITHER, EITHER),
    "spacing NaN": Fault(lambda c: with_orientation(1, 0)(_spaced(c, float("nan")))),
    "spacing infinite": Fault(lambda c: with_orientation(1, 0)(_spaced(c, float("inf")))),
    "a grid 40 mm away": Fault(with_field(292, "f", 4000.0), OTHER, OTHER),
    # the voxels
    "slope 2": Fault(with_field(112, "ff", 2.0, 0.0), REFUSED, OTHER),
    "slope 0": Fault(with_field(112, "ff", 0.0, 7.0), SAME, SAME),
    "slope NaN": Fault(with_field(112, "ff", float("nan"), 0.0), EITHER, EITHER),
    "intercept 1.5": Fault(with_field(112, "ff", 1.0, 1.5), REFUSED, OTHER),
    "an infinite slope": Fault(with_field(112, "ff", float("inf"), 0.0), OTHER, OTHER),
    "a voxel of 1.5": Fault(one_voxel(1.5), REFUSED, OTHER),
    "a voxel of NaN": Fault(one_voxel(float("nan"))),
    "an infinite voxel": Fault(one_voxel(float("inf"))),
    "a voxel of 1e30": Fault(one_voxel(1e30), REFUSED, OTHER),
    "a voxel of -1": Fault(one_voxel(-1), REFUSED, OTHER),
    "a voxel of 4": Fault(one_voxel(4), REFUSED, OTHER),
    "a voxel of 256": Fault(one_voxel(256), REFUSED, OTHER),
    "a voxel of 257": Fault(one_voxel(257), REFUSED, OTHER),
    "a voxel of 2 to the 53": Fault(one_voxel(2.0**53), REFUSED, OTHER),
    "all voxels NaN": Fault(with_voxels(64, "<f8", lambda v: v * np.nan)),
    "all voxels 0": Fault(with_voxels(64, "<f8", lambda v: v * 0), OTHER, OTHER),
    "as float32": Fault(with_voxels(16, "<f4", lambda v: v), SAME, SAME),
    "as float64": Fault(with_voxels(64, "<f8", lambda v: v), SAME, SAME),
    "as int32": Fault(with_voxels(8, "<i4", lambda v: v), SAME, SAME),
    "as int64": Fault(with_voxels(1024, "<i8", lambda v: v), EITHER, EITHER),
    "as uint64": Fault(with_voxels(1280, "<u8", lambda v: abs(v)), EITHER, OTHER),
    "as complex": Fault(with_voxels(32, "<c8", lambda v: v)),
    "as RGB": Fault(with_voxels(128, "u1", lambda v: np.repeat(v, 3))),
}


def _spaced(content: bytes, value: float) -> bytes:
    """The unpacked file with this spacing along the first axis."""
    head = bytearray(content)
    struct.pack_into("<f", head, 80, value)
    return bytes(head)


def apply(fault: Fault, victim: Path) -> None:
    """Put the changed file in the place of a whole one."""
    content = victim.read_bytes()
    victim.write_bytes(fault.change(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content))
