"""Where steps run: a profile of Snakemake, shipped for this machine and for SLURM, or a user's own file."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.errors import WorkflowError

FOLDER = Path(__file__).resolve().parent / "profiles"
LOCAL, SLURM = "local", "slurm"
INSTALL = "pip install 'nnunet_kits[workflow]'"


@dataclass(frozen=True)
class Profile:
    """A profile of Snakemake.

    Attributes:
        file: YAML file with Snakemake's options.
        executor: what runs the steps: ``local``, ``slurm``, or another of Snakemake's plugins.
        options: names of the options that it sets.
    """

    file: Path
    executor: str
    options: frozenset[str] = frozenset()

    @property
    def is_local(self) -> bool:
        """Whether the steps run on this machine, as children of the run."""
        return self.executor == LOCAL


def profile_names() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_profile(name: str) -> Profile:
    """A shipped profile by its name, or a user's by its path.

    Raises:
        WorkflowError: Snakemake or the plugin that the profile needs is not installed, or there is no such profile.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise WorkflowError(f"running a recipe needs Snakemake. Run: {INSTALL}; --dry-run needs nothing.")
    import yaml

    file = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise WorkflowError(
            f"there is no profile {name!r}. Known: {', '.join(profile_names())}; or give a .yaml file of Snakemake's "
            "options."
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{file}: not a YAML file ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise WorkflowError(f"{file}: a profile is lines of 'option: value', Snakemake's own, not {content!r}.")
    executor = str(content.get("executor", LOCAL))
    plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if executor != LOCAL and importlib.util.find_spec(plugin) is None:
        raise WorkflowError(f"{file}: executor {executor!r} needs the package {plugin.replace('_', '-')}. Install it.")
    return Profile(file.resolve(), executor, frozenset(map(str, content)))
