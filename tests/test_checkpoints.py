import torch

from nnunet_kits.model_folder import BEST, LATEST
from nnunet_kits.training import checkpoints


def save(path, epoch):
    torch.save({"epoch": epoch, "w": torch.arange(1000.0)}, path)
    return path


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def test_a_flipped_byte_a_cut_and_an_empty_file_are_not_readable(tmp_path):
    good, flipped, cut, empty = (save(tmp_path / f"{i}.pth", i) for i in range(4))
    flip_a_byte(flipped)
    cut.write_bytes(cut.read_bytes()[:-100])
    empty.write_bytes(b"")
    readable = [checkpoints.is_readable(p) for p in (good, flipped, cut, empty, tmp_path / "none.pth")]
    assert readable == [True, False, False, False, False]


def test_the_newest_good_checkpoint_is_chosen(tmp_path):
    import os

    for age, name in enumerate((BEST, checkpoints.PREVIOUS, LATEST)):
        os.utime(save(tmp_path / name, age), ns=(age * 10**9, age * 10**9))
    latest = tmp_path / LATEST
    assert checkpoints.newest_readable(tmp_path, besides=latest) == tmp_path / checkpoints.PREVIOUS
    (tmp_path / checkpoints.PREVIOUS).write_bytes(b"damaged")
    assert checkpoints.newest_readable(tmp_path, besides=latest) == tmp_path / BEST
    (tmp_path / BEST).unlink()
    assert checkpoints.newest_readable(tmp_path, besides=latest) is None


def test_what_a_kill_left_half_written_is_removed_and_nothing_else(tmp_path):
    save(tmp_path / LATEST, 1)
    (tmp_path / "checkpoint_latest.pth.part").write_bytes(b"half")
    checkpoints.remove_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [LATEST]


def test_only_the_latest_checkpoint_is_kept_as_previous_and_stays_in_place(tmp_path):
    latest = save(tmp_path / LATEST, 1)
    checkpoints.keep_previous(save(tmp_path / BEST, 5))
    assert not (tmp_path / checkpoints.PREVIOUS).exists()
    checkpoints.keep_previous(latest)
    checkpoints.keep_previous(latest)
    assert latest.exists()
    assert torch.load(tmp_path / checkpoints.PREVIOUS, weights_only=True)["epoch"] == 1
