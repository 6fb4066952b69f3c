#!/usr/bin/env bash
# Builds the image with whichever builder is there.
set -euo pipefail
cd "$(dirname "$0")/.."
for builder in podman buildah docker; do
  command -v "$builder" >/dev/null || continue
  [ "$builder" = buildah ] && exec buildah bud -f deploy/Containerfile -t sre:dev .
  exec "$builder" build -f deploy/Containerfile -t sre:dev .
done
echo "no container builder found: install podman, buildah or docker" >&2
exit 2
