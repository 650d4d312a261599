"""The errors a user can meet: each says what is wrong with its value, what is allowed and what to do."""


class KitsError(Exception):
    """Base of every error raised on purpose. The command line prints it as one line and exits with code 2."""


class ImageError(KitsError):
    """A CT or label file that is not there, is there twice, cannot be read, or does not fit its partner."""


class ConversionError(KitsError):
    """A KiTS folder, case or target that cannot be converted."""


class PlanError(KitsError):
    """A preset or plans file that cannot be used."""


class TrainerNameError(KitsError):
    """A trainer name whose parts are not known."""


class TrainingError(KitsError):
    """A training that cannot start or go on."""


class ModelError(KitsError):
    """A published model that cannot be found, downloaded, unpacked, installed or exported."""


class CheckpointError(KitsError):
    """A checkpoint that is damaged, is none, or holds more than data."""


class EnvironmentVariableError(KitsError):
    """A missing or wrong nnU-Net environment variable."""


class InferenceError(KitsError):
    """A prediction that cannot start or go on."""


class ResamplingError(KitsError):
    """A volume, shape or order that cannot be resampled."""


class PreprocessingError(KitsError):
    """A dataset or case that cannot be preprocessed."""


class EvaluationError(KitsError):
    """Predictions that cannot be scored against their references."""


class PostprocessingError(KitsError):
    """A chain that cannot be used, or label maps that cannot be postprocessed."""


class MeasurementError(KitsError):
    """Label maps that cannot be measured."""


class PreparationError(KitsError):
    """A preparation that cannot be used, or a scan, mask or result that does not fit it."""


class EmptyMaskError(PreparationError):
    """A mask without a voxel: nothing was found to crop to."""


class DerivationError(KitsError):
    """A rule that cannot be used, or a dataset that cannot be derived or put back."""


class RecipeError(KitsError):
    """A recipe that cannot be used, or that does not fit the data or the folder it is run in."""


class WorkflowError(KitsError):
    """A run that cannot start or go on."""
