"""Steps that train: one a fold, after all whose results the training reads."""

from nnunet_kits.planning.presets import load_preset
from nnunet_kits.recipes.line import Line
from nnunet_kits.recipes.reading import array_configuration, readings
from nnunet_kits.recipes.steps import Step


def train(line: Line, key: str) -> None:
    """A member, one step a fold, by nnU-Net's own command.

    The low-resolution stage of a cascade predicts for the next one at the end of its training, for which the arrays of
    that one must be there.
    """
    member, model = line.member(key), line.model(key)
    preset = load_preset(member.plans)
    following = preset.configurations[member.configuration].get("next_stage")
    needed = [array_configuration(preset, name) for name in (member.configuration, following) if name]
    after = [f"preprocess_{model.dataset_id:03d}_{model.plans}_{configuration}" for configuration in needed]
    after = [name for name in after if name in line.names]
    after += [name for other in readings(line.recipe, key) for name in line.trained(other)]
    flags = (*member.flags, *(("-num_gpus", str(line.run.num_gpus)) if line.run.num_gpus > 1 else ()))
    flags += ("-device", line.run.device) if line.run.device != "cuda" else ()
    for fold, name in zip(line.folds(key), line.trained(key), strict=True):
        words = (str(model.dataset_id), model.configuration, str(fold), "-p", model.plans, "-tr", model.trainer)
        command = ("nnUNetv2_train", *words, *flags)
        line.add(Step(name, "train", command, tuple(dict.fromkeys(after)), line.needs.train(preset, model)))
