#!/bin/sh
# Builds the image and tags it with version and commit; never with `latest`, which names nothing.
# Usage: tools/image.sh REPOSITORY cpu|cuda [BUILD OPTION]…
set -eu
cd "$(dirname "$0")/.."

stop() { echo "image: $*" >&2; exit 1; }

[ $# -ge 2 ] || stop "usage: tools/image.sh REPOSITORY cpu|cuda [BUILD OPTION]…"
repository=$1 variant=$2
shift 2

builder='' installed=''
for candidate in docker podman; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    installed=$candidate
    if "$candidate" info >/dev/null 2>&1; then builder=$candidate; break; fi
done
[ -n "$installed" ] || stop "needs docker or podman, and neither is installed; install one, or build where one is"
[ -n "$builder" ] ||
    stop "$installed is installed, but its server does not answer; start it ($installed info says more)"

# The tag says what is inside, so everything inside must be committed.
revision=$(git rev-parse --short=12 HEAD 2>/dev/null) || stop "needs a git checkout: the commit is part of the tag"
[ -z "$(git status --porcelain --untracked-files=normal)" ] ||
    stop "the tree differs from commit $revision, which the tag would name; commit first (git status shows what differs)"
version=$(sed -n 's/^ *version="\(.*\)",$/\1/p' setup.py)
tag=$version-$revision
[ "$variant" = cpu ] || tag=$tag-$variant

# Docker before 23 builds with something older unless it is asked, and fails at `COPY --chmod`.
DOCKER_BUILDKIT=1 "$builder" build --pull --tag "$repository:$tag" --build-arg "VARIANT=$variant" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD)" "$@" . ||
    stop "the build failed, see above"
echo "image: $repository:$tag"
