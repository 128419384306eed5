#!/bin/sh
# Entry point of the image. Kubeflow and Vertex AI replace it by the command of the compiled
# pipeline; Beam's runners start a worker with options alone (--id=…, --worker_pool); a person names
# a command: docker run IMAGE tfx-distill presets
set -eu
case ${1-} in
    '') exec tfx-distill --help ;;
    -*) exec /opt/apache/beam/boot "$@" ;;
    *) exec "$@" ;;
esac
