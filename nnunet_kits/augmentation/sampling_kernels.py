"""Compiled loops of the spatial transform: image and labels read at rotated, scaled or deformed places, in one go.

A row of the output takes three passes. The first finds the places of its voxels in the source: the index of the lower
corner and three fractions. The second reads images trilinearly. In the third the eight corners vote for the label; only
where they differ are votes counted.

Places are voxel coordinates: 0 is the centre of the source's first voxel. Whatever lies outside the source is padding.
A plane is a source of depth 2 whose two slices are the same memory (stride 0), read at depth 0.
"""

import numpy as np

from nnunet_kits.augmentation.compiled import compiled

NEAREST, LOWEST, HIGHEST = 0, 1, 2
"""What settles a tie between labels: the label of the nearest voxel if it is tied, the lowest, or the highest."""

MIXED = np.int16(-(2**15))
"""Stands in the map of cells for those whose eight voxels do not have one label."""


@compiled
def half_precision(score):
    """A score of 64 to 1000, rounded as IEEE half precision rounds it; lower ones as they are."""
    if score >= 512:
        return np.rint(score * np.float32(2)) / np.float32(2)
    if score >= 256:
        return np.rint(score * np.float32(4)) / np.float32(4)
    if score >= 128:
        return np.rint(score * np.float32(8)) / np.float32(8)
    if score >= 64:
        return np.rint(score * np.float32(16)) / np.float32(16)
    return score


@compiled
def winner(corners, weights, nearest, tie):
    """The label with the largest sum of weights among the corners, ties settled as ``tie`` says.

    Scores are a thousand times the weights in half precision, as those of nnU-Net's transform are: what is nearly a tie
    there is one here too.
    """
    best, found, nearest_score = np.float32(-1), corners[0], np.float32(-2)
    for a in range(8):
        label = corners[a]
        seen = False
        for b in range(a):
            seen |= corners[b] == label
        if seen:
            continue
        score = np.float32(0)
        for b in range(a, 8):
            if corners[b] == label:
                score += weights[b]
        score = half_precision(score * np.float32(1000))
        if label == nearest:
            nearest_score = score
        if score > best or (score == best and ((label > found) == (tie == HIGHEST))):
            best, found = score, label
    if tie == NEAREST and nearest_score == best:
        return nearest
    return found


@compiled
def is_inside(z, y, x, depth, height, width):
    """Whether all eight corners around a place are voxels of the source."""
    return z >= 0 and y >= 0 and x >= 0 and z < depth - 1 and y < height - 1 and x < width - 1


@compiled
def inner_part(z, y, x, size):
    """The first voxel of a row that lies inside, and the one after the last: what is inside is a convex box."""
    depth, height, width = size
    n = z.size
    low, high = n, n
    for k in range(n):
        if is_inside(z[k], y[k], x[k], depth, height, width):
            low = k
            break
    for k in range(n - 1, low - 1, -1):
        if is_inside(z[k], y[k], x[k], depth, height, width):
            high = k + 1
            break
    return low, high


@compiled
def length_of_part(z, y, x, size):
    """How far a row goes until it comes back inside after it had left."""
    been_inside, left = False, False
    for k in range(z.size):
        inside = is_inside(z[k], y[k], x[k], size[0], size[1], size[2])
        if inside and left:
            return k
        left |= been_inside and not inside
        been_inside |= inside
    return z.size


@compiled
def place_row(z, y, x, strides, index, fz, fy, fx):
    """Lower corners and fractions of places that lie inside."""
    s0, s1 = np.int32(strides[0]), np.int32(strides[1])
    for k in range(z.size):
        a, b, c = np.int32(z[k]), np.int32(y[k]), np.int32(x[k])
        index[k] = a * s0 + b * s1 + c
        fz[k], fy[k], fx[k] = z[k] - np.float32(a), y[k] - np.float32(b), x[k] - np.float32(c)


@compiled
def image_row(flat, strides, index, fz, fy, fx, out):
    """Trilinear values at places that lie inside; in a plane bilinear ones, which are the same."""
    s0, s1, one = np.uint64(strides[0]), np.uint64(strides[1]), np.uint64(1)
    if s0 == 0:
        for k in range(out.size):
            i = np.uint64(index[k])
            a = flat[i] + fx[k] * (flat[i + one] - flat[i])
            i += s1
            b = flat[i] + fx[k] * (flat[i + one] - flat[i])
            out[k] = a + fy[k] * (b - a)
        return
    for k in range(out.size):
        i = np.uint64(index[k])
        u, v, w = fz[k], fy[k], fx[k]
        a = flat[i] + w * (flat[i + one] - flat[i])
        i += s1
        b = flat[i] + w * (flat[i + one] - flat[i])
        i += s0
        d = flat[i] + w * (flat[i + one] - flat[i])
        i -= s1
        c = flat[i] + w * (flat[i + one] - flat[i])
        a += v * (b - a)
        c += v * (d - c)
        out[k] = a + u * (c - a)


@compiled
def uniform_cells(flat, strides, size, out):
    """The label of every cell of eight voxels that has but one, ``MIXED`` of the others, at its lowest corner."""
    depth, height, width = size
    for i in range(depth - 1):
        for j in range(height - 1):
            first = i * strides[0] + j * strides[1]
            a, b = flat[first : first + width], flat[first + strides[1] : first + strides[1] + width]
            cells = out[first : first + width]
            if strides[0] == 0:
                for k in range(width - 1):
                    apart = (a[k] ^ b[k]) | (a[k] ^ a[k + 1]) | (a[k] ^ b[k + 1])
                    cells[k] = a[k] if apart == 0 else MIXED
                continue
            first += strides[0]
            c, d = flat[first : first + width], flat[first + strides[1] : first + strides[1] + width]
            for k in range(width - 1):
                apart = (a[k] ^ b[k]) | (a[k] ^ c[k]) | (a[k] ^ d[k])
                apart |= (a[k] ^ a[k + 1]) | (a[k] ^ b[k + 1]) | (a[k] ^ c[k + 1]) | (a[k] ^ d[k + 1])
                cells[k] = a[k] if apart == 0 else MIXED


@compiled
def label_row(flat, cells, strides, index, fz, fy, fx, z, y, x, tie, corners, weights, out):
    """Labels at places that lie inside."""
    s0, s1 = strides
    one = np.float32(1)
    for k in range(out.size):
        label = cells[np.uint64(index[k])]
        out[k] = label
        if label != MIXED:
            continue
        i = np.int64(index[k])
        u, v, w = fz[k], fy[k], fx[k]
        for m in range(8):
            p, q, r = m >> 2, (m >> 1) & 1, m & 1
            corners[m] = flat[i + p * s0 + q * s1 + r]
            weights[m] = (u if p else one - u) * (v if q else one - v) * (w if r else one - w)
        nearest = flat[np.int64(np.rint(z[k])) * s0 + np.int64(np.rint(y[k])) * s1 + np.int64(np.rint(x[k]))]
        out[k] = winner(corners, weights, nearest, tie)


@compiled
def at(flat, strides, size, z, y, x, padding):
    """A voxel of the source, or the padding outside it."""
    if 0 <= z < size[0] and 0 <= y < size[1] and 0 <= x < size[2]:
        return flat[z * strides[0] + y * strides[1] + x]
    return padding


@compiled
def image_outside(flat, strides, size, z, y, x, padding):
    """Trilinear value at a place that may lie outside."""
    a, b, c = np.int64(np.floor(z)), np.int64(np.floor(y)), np.int64(np.floor(x))
    one = np.float32(1)
    u, v, w = np.float32(z - a), np.float32(y - b), np.float32(x - c)
    total = np.float32(0)
    for m in range(8):
        p, q, r = m >> 2, (m >> 1) & 1, m & 1
        weight = (u if p else one - u) * (v if q else one - v) * (w if r else one - w)
        total += weight * at(flat, strides, size, a + p, b + q, c + r, padding)
    return total


@compiled
def label_nearest(flat, strides, size, z, y, x, padding):
    """Label of the voxel nearest to a place."""
    a, b, c = np.int64(np.rint(z)), np.int64(np.rint(y)), np.int64(np.rint(x))
    return at(flat, strides, size, a, b, c, padding)


@compiled
def label_outside(flat, strides, size, z, y, x, padding, tie, corners, weights):
    """Label at a place that may lie outside."""
    a, b, c = np.int64(np.floor(z)), np.int64(np.floor(y)), np.int64(np.floor(x))
    one = np.float32(1)
    u, v, w = np.float32(z - a), np.float32(y - b), np.float32(x - c)
    for m in range(8):
        p, q, r = m >> 2, (m >> 1) & 1, m & 1
        weights[m] = (u if p else one - u) * (v if q else one - v) * (w if r else one - w)
        corners[m] = at(flat, strides, size, a + p, b + q, c + r, padding)
    return winner(corners, weights, label_nearest(flat, strides, size, z, y, x, padding), tie)


@compiled
def sample_row(
    image, labels, cells, size, strides, places, scratch, paddings, votes, tie, out_image, out_labels, row, first
):
    """A row of the output from its voxel ``first`` on, all channels; see :func:`sample_affine` for the arguments.

    Those of its places that lie inside must follow each other.
    """
    z, y, x = places
    n = z.size
    low, high = inner_part(z, y, x, size)
    inner = slice(low, high)
    iz, iy, ix = z[inner], y[inner], x[inner]
    index, fz, fy, fx, corners, weights = scratch
    index, fz, fy, fx = index[inner], fz[inner], fy[inner], fx[inner]
    place_row(iz, iy, ix, strides, index, fz, fy, fx)
    for c in range(image.shape[0]):
        flat, out = image[c], out_image[c, row, first : first + n]
        image_row(flat, strides, index, fz, fy, fx, out[inner])
        for k in range(low):
            out[k] = image_outside(flat, strides, size, z[k], y[k], x[k], paddings[0])
        for k in range(high, n):
            out[k] = image_outside(flat, strides, size, z[k], y[k], x[k], paddings[0])
    for c in range(labels.shape[0]):
        source, target = labels[c], out_labels[c, row, first : first + n]
        if not votes:
            for k in range(n):
                target[k] = label_nearest(source, strides, size, z[k], y[k], x[k], paddings[1])
            continue
        label_row(source, cells[c], strides, index, fz, fy, fx, iz, iy, ix, tie, corners, weights, target[inner])
        for k in range(low):
            target[k] = label_outside(source, strides, size, z[k], y[k], x[k], paddings[1], tie, corners, weights)
        for k in range(high, n):
            target[k] = label_outside(source, strides, size, z[k], y[k], x[k], paddings[1], tie, corners, weights)


@compiled
def cells_of(labels, size, strides, votes):
    """:func:`uniform_cells` of every channel; empty where none is asked for."""
    cells = np.empty((labels.shape[0], labels.shape[1] if votes else 0), np.int16)
    if votes:
        for c in range(labels.shape[0]):
            uniform_cells(labels[c], strides, size, cells[c])
    return cells


@compiled
def scratch_of(n):
    """What :func:`sample_row` works in: index, three fractions, eight corners and their weights."""
    return (
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(8, np.int16),
        np.empty(8, np.float32),
    )


@compiled
def place_on_axis(relative, whole, offset, out):
    """Voxel coordinates of one axis, from the distances to the middle of the whole.

    In single precision and by way of torch's grid from -1 to 1, since nnU-Net's transform goes that way: so nearly all
    coordinates are its own to the last bit.
    """
    size, half, one = np.float32(whole), np.float32(whole / 2), np.float32(1)
    for k in range(out.size):
        grid = relative[k] / half
        out[k] = ((grid + one) * size - one) / np.float32(2) - np.float32(offset)


@compiled
def sample_affine(
    image, labels, size, strides, whole, offset, start, steps, rows, paddings, votes, tie, out_image, out_labels
):
    """Sample a patch on a grid of parallel lines.

    Args:
        image: float32 (channels, voxels).
        labels: int16 (channels, voxels).
        size: of the source: depth, height, width.
        strides: voxels from one slice to the next, and from one line to the next.
        whole: depth, height, width of what the source is a part of.
        offset: where in it the source begins.
        start: float64 (3,): place of the output's first voxel, from the middle of the whole.
        steps: float64 (3, 3): column d is the way of one voxel along the output's axis d.
        rows: how many lines the output's slices have.
        paddings: float32 and int16, what lies outside image and labels.
        votes: whether corners vote for labels; else the nearest voxel gives them.
        tie: ``NEAREST``, ``LOWEST`` or ``HIGHEST``.
        out_image: float32 (channels, slices * rows, x).
        out_labels: int16 (channels, slices * rows, x).
    """
    n = out_image.shape[2]
    scratch, cells = scratch_of(n), cells_of(labels, size, strides, votes)
    relative = np.empty(n, np.float32)
    z, y, x = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    for row in range(out_image.shape[1]):
        i, j = row // rows, row % rows
        for axis in range(3):
            base = start[axis] + i * steps[axis, 0] + j * steps[axis, 1]
            step = steps[axis, 2]
            for k in range(n):
                relative[k] = base + k * step
            place_on_axis(relative, whole[axis], offset[axis], z if axis == 0 else y if axis == 1 else x)
        sample_row(
            image, labels, cells, size, strides, (z, y, x), scratch, paddings, votes, tie, out_image, out_labels, row, 0
        )


@compiled
def sample_places(image, labels, size, strides, places, paddings, votes, tie, out_image, out_labels):
    """Sample a patch at any places: float32 (3, slices * rows, x), z, y and x. The rest as :func:`sample_affine`."""
    scratch, cells = scratch_of(out_image.shape[2]), cells_of(labels, size, strides, votes)
    n = out_image.shape[2]
    for row in range(out_image.shape[1]):
        first = 0
        while first < n:
            z, y, x = places[0, row, first:], places[1, row, first:], places[2, row, first:]
            last = first + length_of_part(z, y, x, size)
            part = (places[0, row, first:last], places[1, row, first:last], places[2, row, first:last])
            sample_row(
                image, labels, cells, size, strides, part, scratch, paddings, votes, tie,
                out_image, out_labels, row, first,
            )  # fmt: skip
            first = last
