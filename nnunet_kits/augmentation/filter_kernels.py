"""Compiled loops along the axes and over all voxels of one channel: blur, linear interpolation, statistics."""

import math

import numpy as np

from nnunet_kits.augmentation.compiled import compiled, summing

BLOCK = 4096
"""Voxels of a plane that are done at a time, so that what they are made of stays in the processor's cache."""

ONE = np.float32(1)
LEAST_POWER = np.float32(-126)
"""Of 2, of which single precision has all digits."""

ROOT_HALF = np.int32(0x3F3504F3)
"""Bits of the square root of one half in single precision."""

LOG_TERMS = tuple(np.float32(2 / np.log(2) / n) for n in (1, 3, 5, 7, 9))
"""log2((1 + s) / (1 - s)) = s (LOG_TERMS[0] + s^2 LOG_TERMS[1] + ...)"""

EXP_TERMS = tuple(np.float32(np.log(2) ** n / math.factorial(n)) for n in range(8))
"""2^f = EXP_TERMS[0] + f EXP_TERMS[1] + ..."""


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
def unit_power(values, sign, low, extent, exponent):
    """Values times 1 or -1, from their range to that from 0 to 1, then to a power; in place.

    The power is 2^(exponent log2(x)), by polynomials, which a processor computes of many values at once: for exponents
    of 0.5 to 2 within 2e-7 of the power, and 0 becomes less than 1e-19.
    """
    edge = min(BLOCK, values.size)
    bits, scale_bits = np.empty(edge, np.int32), np.empty(edge, np.int32)
    mantissas, scales = bits.view(np.float32), scale_bits.view(np.float32)
    powers, whole = np.empty(edge, np.float32), np.empty(edge, np.float32)
    for first in range(0, values.size, edge):
        block = values[first : first + edge]
        block_bits = block.view(np.int32)
        n = block.size
        for k in range(n):
            block[k] = (sign * block[k] - low) / extent
        for k in range(n):
            power = (block_bits[k] - ROOT_HALF) >> np.int32(23)
            bits[k] = block_bits[k] - (power << np.int32(23))
            powers[k] = power
        for k in range(n):
            s = (mantissas[k] - ONE) / (mantissas[k] + ONE)
            q = s * s
            log = LOG_TERMS[3] + q * LOG_TERMS[4]
            log = LOG_TERMS[0] + q * (LOG_TERMS[1] + q * (LOG_TERMS[2] + q * log))
            power = max(exponent * (powers[k] + s * log), LEAST_POWER)
            nearest = np.rint(power)
            whole[k] = nearest
            f = power - nearest
            rest = EXP_TERMS[4] + f * (EXP_TERMS[5] + f * (EXP_TERMS[6] + f * EXP_TERMS[7]))
            powers[k] = EXP_TERMS[0] + f * (EXP_TERMS[1] + f * (EXP_TERMS[2] + f * (EXP_TERMS[3] + f * rest)))
        for k in range(n):
            scale_bits[k] = (np.int32(whole[k]) + np.int32(127)) << np.int32(23)
        for k in range(n):
            block[k] = powers[k] * scales[k] + (block[k] - block[k])  # what was no number stays none


@compiled
def scale_shift(values, factor, shift):
    """Values times a factor, plus a shift; in place."""
    for k in range(values.size):
        values[k] = values[k] * factor + shift
