#!/usr/bin/env bash
# Builds the image, with docker, buildah or podman: the first that works here. `make image` runs it.
#
#   build.sh [FLAG …]                 flags for the builder: --secret id=pip.conf,src=pip.conf
#   IMAGE=registry.example.org/reach:0.1.0 BASE=…/python:3.13-slim@sha256:… ENGINE=podman build.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

engine=${ENGINE:-}
if [ -z "$engine" ]; then
  # A docker without its daemon is often there, and of no use.
  if docker info >/dev/null 2>&1; then
    engine=docker
  elif command -v buildah >/dev/null; then
    engine=buildah
  elif command -v podman >/dev/null; then
    engine=podman
  else
    echo 'An image needs docker (and its daemon), buildah or podman, and none works here.' \
      'Debian, Ubuntu: sudo apt install buildah' >&2
    exit 1
  fi
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || true)
flags=(--file deploy/docker/Dockerfile --tag "${IMAGE:-reach:$version}"
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "SOURCE=${SOURCE:-}")
[ -z "${BASE:-}" ] || flags+=(--build-arg "BASE=$BASE")
# What is built as OCI's kind of image has no HEALTHCHECK.
[ "$engine" = docker ] || flags+=(--format docker)
echo "Building ${IMAGE:-reach:$version} with $engine" >&2
DOCKER_BUILDKIT=1 exec "$engine" build "${flags[@]}" "$@" .
