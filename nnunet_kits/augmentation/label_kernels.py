"""Compiled loops over label maps: replaced labels, channels of one label each, regions at several resolutions."""

from nnunet_kits.augmentation.compiled import compiled


@compiled
def replace(labels, old, new):
    """Replace one label; in place."""
    for k in range(labels.size):
        labels[k] = new if labels[k] == old else labels[k]


@compiled
def one_hot(labels, wanted, out):
    """1 where a voxel has the channel's label, else 0: int16 (voxels) -> float32 (channels, voxels)."""
    for c in range(wanted.size):
        label, channel = wanted[c], out[c]
        for k in range(labels.size):
            channel[k] = 1 if labels[k] == label else 0


@compiled
def regions(labels, lowest, table, out):
    """Whether a voxel's label belongs to each region.

    Args:
        labels: int16 (voxels).
        lowest: label of the table's first column.
        table: bool (regions, labels).
        out: bool (regions, voxels).
    """
    count = table.shape[1]
    for r in range(table.shape[0]):
        holds, channel = table[r], out[r]
        for k in range(labels.size):
            column = labels[k] - lowest
            channel[k] = holds[column] if 0 <= column < count else False


@compiled
def pick(labels, z, y, x, out):
    """The voxels at some places of each axis: int16 (z, y, x)."""
    for i in range(z.size):
        for j in range(y.size):
            line, target = labels[z[i], y[j]], out[i, j]
            for k in range(x.size):
                target[k] = line[x[k]]
