# One image for everything that runs this code: the nodes of a pipeline on Kubeflow or Vertex AI,
# Beam's workers on Dataflow, Flink or Spark, and the command line. `make image` builds it;
# docs/kubeflow.md says how to push it.
#
# Every base image is an argument, for a mirror or a digest:
#   --build-arg RUNTIME_IMAGE=python:3.11.15-slim-bookworm@sha256:…
# (docker buildx imagetools inspect python:3.11.15-slim-bookworm prints the digest).

# Debian 12 and Python 3.11 are where the whole test suite runs. From Python 3.12 on, the locked
# wheels need the C library of Debian 13.
ARG PYTHON_VERSION=3.11.15
# As locked: Beam refuses a worker of another version.
ARG BEAM_VERSION=2.77.0
ARG BUILD_IMAGE=python:${PYTHON_VERSION}-bookworm
ARG RUNTIME_IMAGE=python:${PYTHON_VERSION}-slim-bookworm
ARG BEAM_IMAGE=apache/beam_python3.11_sdk:${BEAM_VERSION}

FROM ${BEAM_IMAGE} AS beam

# The full Python image has the compiler that a few packages without wheels need.
FROM ${BUILD_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1
WORKDIR /build
COPY requirements.in requirements.lock requirements-cuda.lock tools/runtime_lock.py ./
RUN sed -n '/^uv==/,/^ *# via/p' requirements.lock > uv.lock \
    && python -m pip install --no-deps --require-hashes -r uv.lock
# cpu, or cuda: with the CUDA libraries that TensorFlow asks for.
ARG VARIANT=cpu
RUN python runtime_lock.py requirements.in requirements.lock > runtime.lock \
    && case "${VARIANT}" in \
        cpu) ;; \
        cuda) cat requirements-cuda.lock >> runtime.lock ;; \
        *) echo "VARIANT must be cpu or cuda, got '${VARIANT}'" >&2; exit 1 ;; \
    esac \
    && python -m venv /opt/venv \
    && uv pip sync --python /opt/venv/bin/python --require-hashes --compile-bytecode \
        --build-constraints requirements.lock runtime.lock \
    # Headers for C++ and a parser of it, which nothing here imports: half a gigabyte.
    && rm -r /opt/venv/lib/python*/site-packages/tensorflow/include \
        /opt/venv/lib/python*/site-packages/clang/native

FROM packages AS wheel
COPY setup.py LICENSE ./
COPY components components
COPY modules modules
COPY pipeline pipeline
COPY tfx_distill tfx_distill
RUN /opt/venv/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

FROM ${RUNTIME_IMAGE} AS runtime
RUN useradd --create-home --uid 10001 distill
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=packages /opt/venv /opt/venv
COPY --chmod=755 tools/image_entrypoint.sh /usr/local/bin/image-entrypoint
# TF_USE_LEGACY_KERAS stays unset, as it is where the tests run: the project uses Keras 3.
# The libraries of an NVIDIA driver are put into /usr/local/nvidia by GKE and Vertex AI.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PATH=/opt/venv/bin:/usr/local/nvidia/bin:${PATH} \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# A layer of its own, so that a change of our code does not push the packages again.
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    python -m pip install --no-deps --no-index /wheel/*.whl
USER 10001
WORKDIR /home/distill
# What a node of a compiled pipeline starts with: a library that is missing shows here.
RUN python -m tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor --helpshort \
    && tfx-distill presets
ENTRYPOINT ["/usr/local/bin/image-entrypoint"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="tfx-distill" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
