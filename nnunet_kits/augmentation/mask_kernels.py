"""Compiled morphology of masks: 64 voxels of a line in one word, a structuring element as runs along its lines.

A line dilated by a run is an OR of shifted copies; every run of the element that has the same ends shares it. What is
left is one OR of words for each line of the element.
"""

import numpy as np

from nnunet_kits.augmentation.compiled import compiled


@compiled
def pack(mask, out):
    """Pack lines into words: float32 (z, y, x) -> uint64 (z, y, words), a bit for each voxel that is not 0."""
    depth, height, width = mask.shape
    out[:] = np.uint64(0)
    for i in range(depth):
        for j in range(height):
            line, words = mask[i, j], out[i, j]
            for k in range(width):
                if line[k] != 0:
                    words[k >> 6] |= np.uint64(1) << np.uint64(k & 63)


@compiled
def shifted_or(source, by, out):
    """OR a line of words, moved by some bits (to higher ones if positive), onto another."""
    n = source.size
    words, bits = abs(by) >> 6, np.uint64(abs(by) & 63)
    rest = np.uint64(64) - bits
    if by >= 0:
        for k in range(n - 1, words - 1, -1):
            value = source[k - words] << bits
            if bits and k - words > 0:
                value |= source[k - words - 1] >> rest
            out[k] |= value
    else:
        for k in range(n - words):
            value = source[k + words] >> bits
            if bits and k + words + 1 < n:
                value |= source[k + words + 1] << rest
            out[k] |= value


@compiled
def keep_width(words, width):
    """Clear the bits beyond a line's end; in place."""
    full = width >> 6
    if width & 63:
        words[full] &= (np.uint64(1) << np.uint64(width & 63)) - np.uint64(1)
        full += 1
    words[full:] = np.uint64(0)


@compiled
def dilate(mask, width, runs, out):
    """Dilate packed lines.

    Args:
        mask: uint64 (z, y, words).
        width: voxels of a line.
        runs: int64 (lines of the element, 4): z and y from its middle, first and last x; shorter ones first.
        out: uint64 (z, y, words).
    """
    depth, height, words = mask.shape
    out[:] = np.uint64(0)
    spread = np.zeros((depth, height * words), np.uint64)  # the mask, dilated by one run
    target = out.reshape(depth, height * words)
    done_first, done_last = 0, -1
    for r in range(len(runs)):
        dz, dy, first, last = runs[r]
        if done_last < done_first or first > done_first or last < done_last:
            spread[:] = np.uint64(0)
            done_first, done_last = first, first - 1
        for x in range(first, last + 1):
            if x < done_first or x > done_last:
                for i in range(depth):
                    for j in range(height):
                        shifted_or(mask[i, j], -x, spread[i, j * words : (j + 1) * words])
        done_first, done_last = first, last
        low, high = max(0, -dy), min(height, height - dy)
        if low >= high:
            continue
        for i in range(max(0, -dz), min(depth, depth - dz)):
            to = target[i, low * words : high * words]
            source = spread[i + dz, (low + dy) * words : (high + dy) * words]
            for k in range(to.size):
                to[k] |= source[k]
    for i in range(depth):
        for j in range(height):
            keep_width(out[i, j], width)


@compiled
def invert(mask, width):
    """The voxels that a mask does not have; in place."""
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            for k in range(mask.shape[2]):
                mask[i, j, k] = ~mask[i, j, k]
            keep_width(mask[i, j], width)


@compiled
def write(before, after, channel, others):
    """Write a packed mask into its channel, and clear the others where it is new.

    Args:
        before: uint64 (z, y, words), the channel as it was.
        after: uint64 (z, y, words).
        channel: float32 (z, y, x).
        others: float32 (channels, z, y, x).
    """
    depth, height, width = channel.shape
    for i in range(depth):
        for j in range(height):
            for k in range(width):
                bit = np.uint64(k & 63)
                now = (after[i, j, k >> 6] >> bit) & np.uint64(1)
                channel[i, j, k] = now
                if now and not (before[i, j, k >> 6] >> bit) & np.uint64(1):
                    for c in range(others.shape[0]):
                        others[c, i, j, k] = 0


@compiled
def box_of(mask, out):
    """Lower and upper bounds, int64 (3, 2), of what is not 0 in float32 (z, y, x); an empty box if nothing is."""
    depth, height, width = mask.shape
    out[0, 0], out[1, 0], out[2, 0] = depth, height, width
    out[0, 1], out[1, 1], out[2, 1] = 0, 0, 0
    for i in range(depth):
        for j in range(height):
            line = mask[i, j]
            any_here = False
            for k in range(width):
                any_here |= line[k] != 0
            if not any_here:
                continue
            out[0, 0], out[0, 1] = min(out[0, 0], i), i + 1
            out[1, 0], out[1, 1] = min(out[1, 0], j), max(out[1, 1], j + 1)
            for k in range(width):
                if line[k] != 0:
                    out[2, 0] = min(out[2, 0], k)
                    break
            for k in range(width - 1, -1, -1):
                if line[k] != 0:
                    out[2, 1] = max(out[2, 1], k + 1)
                    break
