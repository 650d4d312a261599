# Segment CTs in a container, without root and without network: docs/how-to/run-in-a-container.md.
#
#   docker build --target segment -t kits .                              all verbs, first of all segment
#   docker build --target grand-challenge -t kits-grand-challenge .      an algorithm of grand-challenge.org
#
# --build-arg DEVICE=cpu leaves CUDA out. With cuda the host needs NVIDIA's driver and container toolkit, nothing else: CUDA
# itself comes with torch.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS segment
ARG DEVICE=cuda
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE ./
COPY nnunet_kits ./nnunet_kits
# hadolint ignore=DL3013
RUN if [ "${DEVICE}" = cpu ]; then \
        pip install --no-cache-dir 'torch>=2.10' --index-url https://download.pytorch.org/whl/cpu; \
    fi \
    && pip install --no-cache-dir '.[dicom]' \
    && useradd --create-home --uid 1000 kits

# Models are mounted, or copied, below /opt/ml/model; what libraries keep for themselves goes to /tmp.
ENV NNUNET_KITS_MODELS=/opt/ml/model \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    PYTHONUNBUFFERED=1

WORKDIR /tmp
USER 1000
ENTRYPOINT ["nnunet_kits"]
CMD ["--help"]

FROM segment AS grand-challenge
ARG MODEL=renal-net
ARG COARSE=
ARG SLUG=
ENV NNUNET_KITS_MODEL=${MODEL} \
    NNUNET_KITS_COARSE=${COARSE} \
    NNUNET_KITS_SLUG=${SLUG}
ENTRYPOINT ["python", "-m", "nnunet_kits.grand_challenge"]
CMD []
