# edge_runtime on a Jetson with JetPack 6.1 or 6.2 (L4T 36.4): docker build -t edge-runtime .
# TensorRT and CUDA come with the base image. Not built in this project's CI: it runs on arm64 with
# the NVIDIA runtime only. A PC without a GPU: --build-arg BASE=debian:12
# --build-arg EXTRAS=audio,background,metrics. Run it with the devices it shall use, and where it is:
#
#   docker run --restart unless-stopped --runtime nvidia --device /dev/snd --device /dev/video0 \
#     -e TZ=Europe/Vienna -v /etc/edge-runtime:/etc/edge-runtime:ro \
#     -v edge-state:/var/lib/edge-runtime edge-runtime
#
# Secrets (`password_file: /etc/edge-runtime/mqtt-password`) belong to user 990 here, mode 0400: the
# folder `credentials` is systemd's. Its health is in `docker ps`, its log in `docker logs`. A worker
# (`docker run --no-healthcheck ... edge-runtime background ...`) has no status that could tell it.
ARG BASE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel
ARG EXTRAS=audio,background,jetson,metrics

# pyaudio and pycuda are compiled on the target; the compilers stay in this stage.
FROM ${BASE} AS build
ARG EXTRAS
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc g++ python3-dev python3-venv portaudio19-dev \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python3 -m venv --system-site-packages /opt/edge-runtime \
 && /opt/edge-runtime/bin/pip install --no-cache-dir "/src[${EXTRAS}]"

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      espeak-ng libportaudio2 libspeexdsp1 python3 tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 990 --home-dir /var/lib/edge-runtime --create-home \
      --groups audio,video edge-runtime \
 && install -d -o 990 /run/edge-runtime
COPY --from=build /opt/edge-runtime /opt/edge-runtime
# What `edge-runtime status` reads; systemd would give this folder.
ENV RUNTIME_DIRECTORY=/run/edge-runtime
USER 990
WORKDIR /var/lib/edge-runtime
HEALTHCHECK --start-period=60s CMD ["/opt/edge-runtime/bin/edge-runtime", "status"]
ENTRYPOINT ["/opt/edge-runtime/bin/edge-runtime"]
CMD ["serve", "--config", "/etc/edge-runtime/edge-runtime.yaml"]
