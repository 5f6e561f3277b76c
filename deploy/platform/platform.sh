#!/usr/bin/env bash
# Brings up, on a local cluster of its own, everything that Reach runs on, and Reach: `make cluster`.
# docs/guides/kubernetes.md says what it makes and how to use it. It can be run again at any time.
#
#   platform.sh up | down | status
#
# Variables:
#   CLUSTER            minikube or kind; by default whichever is installed
#   PARTS              some of: database cache mail edge metrics logs app; by default all of them
#   PLATFORM_CONTEXT   use this context of your kubeconfig instead of a local cluster
#   PLATFORM_VALUES    a values file for Reach's chart; on a local cluster, by default, the chart's
#                      values-minikube.yaml
#   PLATFORM_CPUS, PLATFORM_MEMORY_MB   what minikube takes; by default 4 and 8192
#   PLATFORM_DELETE_DATA=yes   lets `down` delete what is in a cluster that PLATFORM_CONTEXT names
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=deploy/platform/versions.sh
source "$here/versions.sh"
# shellcheck source=deploy/platform/cluster.sh
source "$here/cluster.sh"
# shellcheck source=deploy/platform/elastic.sh
source "$here/elastic.sh"
# shellcheck source=deploy/platform/parts.sh
source "$here/parts.sh"

ALL_PARTS='database cache mail edge metrics logs app'
OURS=app.kubernetes.io/part-of=reach-platform
WAIT=10m

say() { printf '== %s\n' "$*"; }
fail() {
  printf 'platform.sh: %s\n' "$*" >&2
  exit 1
}

# Every call names its context: whatever kubectl would use by itself is not ours.
k() { kubectl --context "$context" "$@"; }
h() { helm --kube-context "$context" "$@"; }

# has NAMESPACE KIND NAME: false only if it is not there; a cluster that does not answer ends us.
has() {
  local found
  found=$(k get "$2" "$3" --namespace "$1" --ignore-not-found --output name) || exit 1
  [ -n "$found" ]
}

wanted() { [[ " ${PARTS:-$ALL_PARTS} " == *" $1 "* ]]; }

check_parts() {
  local part
  for part in ${PARTS:-}; do
    [[ " $ALL_PARTS " == *" $part "* ]] || fail "PARTS are some of: $ALL_PARTS; not $part"
  done
  if wanted app && [ -n "${PLATFORM_CONTEXT:-}" ] && [ -z "${PLATFORM_VALUES:-}" ]; then
    fail 'which values is Reach to have there? PLATFORM_VALUES=their-file, or PARTS without app'
  fi
}

up() {
  local part
  check_parts
  choose_cluster
  start_cluster
  ! wanted app || load_image
  for part in $ALL_PARTS; do
    ! wanted "$part" || "up_$part"
  done
  say 'done'
  next_steps
}

next_steps() {
  [ -n "${PLATFORM_CONTEXT:-}" ] || echo "export KUBECONFIG=$KUBECONFIG"
  if wanted app && wanted edge && [ -z "${PLATFORM_VALUES:-}" ]; then
    cat <<END

Sign up:  kubectl --namespace traefik port-forward service/traefik ${ADDRESS##*:}:80
          $ADDRESS
END
  fi
  ! wanted mail || cat <<END
Mail:     kubectl --namespace reach port-forward service/reach-mailpit 8025
          http://localhost:8025
END
  ! wanted metrics || cat <<'END'
Graphs:   kubectl --namespace monitoring port-forward service/kube-prometheus-stack-grafana 3000:80
          http://localhost:3000 as admin, with this password:
          kubectl --namespace monitoring get secret reach-grafana --output go-template='{{index .data "admin-password" | base64decode}}'
END
  ! wanted logs || cat <<'END'
Logs:     kubectl --namespace elastic port-forward service/reach-kb-http 5601
          https://localhost:5601 as elastic, with this password:
          kubectl --namespace elastic get secret reach-es-elastic-user --output go-template='{{.data.elastic | base64decode}}'
END
}

down() {
  choose_cluster
  if [ -z "${PLATFORM_CONTEXT:-}" ]; then
    delete_cluster
    return
  fi
  [ "${PLATFORM_DELETE_DATA:-}" = yes ] || fail "this deletes the database and the logs in" \
    "$context for good. If you mean it: PLATFORM_DELETE_DATA=yes"
  remove_parts
}

status() {
  choose_cluster
  h list --all-namespaces
  k get pods --all-namespaces
}

case ${1:-} in
  up | down | status) "$1" ;;
  *)
    sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
