"""By which models a call of segment predicts; what can be told of them is told before torch is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.backends import Backend, check_backend
from nnunet_kits.inference.chosen import ChosenModels, choose_members, choose_models
from nnunet_kits.inference.suitability import check_meaning, dataset_of
from nnunet_kits.models.places import installed_with

if TYPE_CHECKING:
    from nnunet_kits.inference.jobs import Job, SystemJob

MODEL = "renal-net"


@dataclass(frozen=True)
class Models:
    """What is predicted with; names are those of installed models, or model folders, as ``predict`` takes them.

    Attributes:
        fine: the model, or several that are averaged; of a system each ``KEY=MODEL``.
        system: a shipped system, or a ``.json`` file; None for the model itself.
        coarse: model that finds the kidneys, as ``predict --coarse``.
        coarse_labels: of the coarse model those that are the kidneys.
        folds: to average; None for all that are trained.
        device: ``cpu``, ``cuda`` or ``mps``; None for ``cuda`` where there is one, else ``cpu``.
        mirror: average over the flips that training mirrored.
        agreement: also compare the folds, or the mirrored copies of the only one.
        trust: run the code that the models' files ask for.
        backend: what runs the networks: ``torch``, or ``openvino``, which takes the CPU.

    Raises:
        InferenceError: a backend that is not installed, or cannot run on the device.
    """

    fine: tuple[str, ...] = (MODEL,)
    system: str | None = None
    coarse: str | None = None
    coarse_labels: tuple[str, ...] = ()
    folds: tuple[str, ...] | None = None
    device: str | None = None
    mirror: bool = True
    agreement: bool = False
    trust: bool = False
    backend: Backend = "torch"

    def __post_init__(self) -> None:
        check_backend(self.backend, self.device or "cpu")

    @property
    def name(self) -> str:
        """What results call it: the system's name, or each model's."""
        if self.system is not None:
            return self.system
        folders = [one.folder for one in self._chosen().fine]
        known = [(installed_with(folder), folder) for folder in folders]
        return ", ".join(folder.resolve().name if found is None else found.name for found, folder in known)

    @property
    def licences(self) -> list[str]:
        """Name, licence and citation of the installed models among them."""
        if self.system is not None:
            return []
        found = [installed_with(folder) for folder in self._chosen().by_folder]
        return [f"{one.name}: {one.licence}. Cite: {one.citation}" for one in found if one is not None]

    def check(self) -> bool:
        """See that the models are there, and that their labels are those of the measures.

        Returns:
            Whether what they label as tumors are any masses, cysts too.

        Raises:
            KitsError: a model that is not installed, does not fit, or has other labels.
        """
        if self.system is None:
            chosen = self._chosen()
            described = [(one.folder.name, dataset_of(one.folder)) for one in chosen.fine]
            return any([check_meaning(name, found) for name, found in described if found is not None])
        if self.coarse or self.coarse_labels or self.agreement:
            raise InferenceError(
                "a system says itself what finds the kidneys, and its models are not compared. Leave --coarse, "
                "--coarse-labels and --agreement out."
            )
        from nnunet_kits.inference.system import load_system

        choose_members(self.fine)
        return check_meaning(self.system, {"labels": dict(load_system(self.system).labels)})

    def job(self) -> "Job | SystemJob":
        """What is to be predicted with what."""
        import torch

        from nnunet_kits.inference.coarse_to_fine import Settings
        from nnunet_kits.inference.jobs import Job, SystemJob
        from nnunet_kits.inference.system import load_system

        on_gpu = self.backend == "torch" and torch.cuda.is_available()
        common = {
            "folds": self.folds,
            "device": self.device or ("cuda" if on_gpu else "cpu"),
            "backend": self.backend,
            "trust": self.trust,
        }
        if self.system is None:
            settings = Settings(mirror=self.mirror, agreement=self.agreement)
            return Job.of(self._chosen(), settings=settings, **common)
        system = load_system(self.system)
        if not self.mirror:
            system = system.with_windows(mirror_axes=())
        return SystemJob.of(system, choose_members(self.fine), **common)

    def _chosen(self) -> ChosenModels:
        return choose_models(self.fine, self.coarse, self.coarse_labels)
