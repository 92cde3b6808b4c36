# syntax=docker/dockerfile:1
# A Triton image that carries trtbuild beside the server and runs as an ordinary user.
#
#   docker build --build-arg TRITON_TAG=26.07-vllm-python-py3 -t my-triton .
#   docker run --rm --gpus all --shm-size 2g -p 127.0.0.1:8000-8002:8000-8002 \
#     -v "$PWD/model_repository:/models:ro" my-triton
ARG TRITON_TAG=26.07-vllm-python-py3

FROM nvcr.io/nvidia/tritonserver:${TRITON_TAG} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY builders ./builders
COPY checkpoints ./checkpoints
COPY dialects ./dialects
COPY rules ./rules
COPY measure ./measure
COPY deploy ./deploy
COPY drift ./drift
COPY importing ./importing
COPY engine_flow ./engine_flow
COPY batch ./batch
COPY experiments ./experiments
COPY artifacts ./artifacts
COPY drift ./drift
COPY importing ./importing
COPY templates ./templates
# An environment of its own: what the server's Python carries stays as NVIDIA tested it.
RUN python3 -m venv /opt/trtbuild && /opt/trtbuild/bin/pip install --no-cache-dir /src

FROM nvcr.io/nvidia/tritonserver:${TRITON_TAG}
LABEL org.opencontainers.image.title="trtbuild" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=wheel /opt/trtbuild /opt/trtbuild
COPY scripts/container_healthcheck.py /opt/trtbuild/healthcheck.py
# The images of 24.11 and newer already have a user with uid 1000.
RUN (getent passwd 1000 || useradd --uid 1000 --create-home trtbuild) \
    && install --directory --owner 1000 --group 1000 /models /home/cache \
    && ln -s /opt/trtbuild/bin/trtbuild /usr/local/bin/trtbuild
ENV HF_HOME=/home/cache/huggingface \
    TRTBUILD_CACHE_DIR=/home/cache/trtbuild \
    TRTBUILD_STATE_DIR=/home/cache/state \
    DO_NOT_TRACK=1 \
    VLLM_NO_USAGE_STATS=1
USER 1000:1000
WORKDIR /models
VOLUME ["/models"]
EXPOSE 8000 8001 8002
# Asks every model, not only the server: a server with a dead engine still calls itself ready.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 \
  CMD ["/opt/trtbuild/bin/python", "/opt/trtbuild/healthcheck.py"]
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
CMD ["tritonserver", "--model-repository=/models", "--model-control-mode=explicit", \
     "--load-model=*", "--disable-auto-complete-config", "--exit-timeout-secs=30"]
