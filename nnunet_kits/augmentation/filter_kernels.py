"""Compiled loops along the axes and over all voxels of one channel: blur, linear interpolation, statistics."""

import numpy as np

from nnunet_kits.augmentation.compiled import compiled, summing

BLOCK = 4096
"""Voxels of a plane that are done at a time, so that what they are made of stays in the processor's cache."""


@compiled
def reflected(i, n):
    """Index ``i`` reflected at both ends of an axis of ``n``, which are not repeated, as often as it takes."""
    if n == 1:
        return 0
    while i < 0 or i >= n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


@compiled
def blur_across(source, taps, out):
    """Convolve along the middle axis: float32 (before, n, after), after > 1. Reflects at the ends."""
    before, n, after = source.shape
    half = taps.size // 2
    for a in range(before):
        for first in range(0, after, BLOCK):
            last = min(first + BLOCK, after)
            for i in range(n):
                target = out[a, i, first:last]
                line = source[a, reflected(i - half, n), first:last]
                for k in range(target.size):
                    target[k] = taps[0] * line[k]
                for t in range(1, taps.size):
                    line = source[a, reflected(i - half + t, n), first:last]
                    tap = taps[t]
                    for k in range(target.size):
                        target[k] += tap * line[k]


@compiled
def blur_along(source, taps, out):
    """Convolve along the last axis: float32 (lines, n). Reflects at the ends. ``out`` may be ``source``."""
    lines, n = source.shape
    half = taps.size // 2
    padded = np.empty(n + 2 * half, np.float32)
    for a in range(lines):
        for i in range(padded.size):
            padded[i] = source[a, reflected(i - half, n)]
        target = out[a]
        for k in range(n):
            target[k] = taps[0] * padded[k]
        for t in range(1, taps.size):
            shifted, tap = padded[t : t + n], taps[t]
            for k in range(n):
                target[k] += tap * shifted[k]


@compiled
def interpolate_from(volume, chosen, lower, upper, share):
    """Replace a channel by the linear interpolation of some of its voxels.

    Args:
        volume: float32 (z, y, x), changed in place.
        chosen: per axis, the voxels of the coarse grid.
        lower: per axis, for each voxel the coarse one before it.
        upper: per axis, for each voxel the coarse one after it.
        share: per axis, for each voxel the share of the one after it; float32.
    """
    depth, height, width = volume.shape
    coarse = np.empty((chosen[0].size, chosen[1].size, width), np.float32)
    line = np.empty(chosen[2].size, np.float32)
    for i in range(chosen[0].size):
        for j in range(chosen[1].size):
            source, target = volume[chosen[0][i], chosen[1][j]], coarse[i, j]
            for k in range(line.size):
                line[k] = source[chosen[2][k]]
            for k in range(width):
                a = line[lower[2][k]]
                target[k] = a + share[2][k] * (line[upper[2][k]] - a)
    for i in range(depth):
        first, second, w = coarse[lower[0][i]], coarse[upper[0][i]], share[0][i]
        for j in range(height):
            a, b, v = first[lower[1][j]], first[upper[1][j]], share[1][j]
            c, d, target = second[lower[1][j]], second[upper[1][j]], volume[i, j]
            for k in range(width):
                near = a[k] + v * (b[k] - a[k])
                far = c[k] + v * (d[k] - c[k])
                target[k] = near + w * (far - near)


@summing
def statistics(values, sign):
    """Mean, standard deviation (of a sample), minimum and maximum of values times 1 or -1."""
    shift = np.float64(values[0])
    total, squares = 0.0, 0.0
    low, high = values[0], values[0]
    for k in range(values.size):
        value = values[k]
        apart = np.float64(value) - shift
        total += apart
        squares += apart * apart
        low, high = min(low, value), max(high, value)
    n = values.size
    mean = total / n
    deviation = np.sqrt(max(squares - n * mean * mean, 0.0) / (n - 1))
    if sign < 0:
        low, high = -high, -low
    return np.float32(sign * (shift + mean)), np.float32(deviation), low, high


@compiled
def stretch(values, mean, factor, low, high):
    """Stretch values about their mean, and keep them in their range; in place."""
    for k in range(values.size):
        values[k] = min(max((values[k] - mean) * factor + mean, low), high)


@compiled
def to_unit(values, sign, low, extent):
    """Values times 1 or -1, from their range to that from 0 to 1; in place."""
    for k in range(values.size):
        values[k] = (sign * values[k] - low) / extent


@compiled
def scale_shift(values, factor, shift):
    """Values times a factor, plus a shift; in place."""
    for k in range(values.size):
        values[k] = values[k] * factor + shift
