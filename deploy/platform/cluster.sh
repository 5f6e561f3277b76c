# shellcheck shell=bash disable=SC2154 # sourced by platform.sh, which has k, say, fail and root
# Which cluster: one that the caller names, or a local one that is ours alone, with a kubeconfig of
# its own, so that nothing here can reach, or change, what the caller's kubeconfig is about.

NAME=reach
STATE=$root/.cluster

need() {
  local program
  for program; do
    command -v "$program" >/dev/null || fail "there is no $program here. $(remedy "$program")"
  done
}

remedy() {
  case $1 in
    docker) echo 'Install Docker (https://docs.docker.com/engine/install/) and start it.' ;;
    kind) echo 'Install kind: https://kind.sigs.k8s.io/docs/user/quick-start/' ;;
    minikube) echo 'Install minikube: https://minikube.sigs.k8s.io/docs/start/' ;;
    helm) echo 'Install Helm 3.14 or later: https://helm.sh/docs/intro/install/' ;;
    kubectl) echo 'Install kubectl: https://kubernetes.io/docs/tasks/tools/' ;;
    *) echo 'Install it, and try again.' ;;
  esac
}

choose_cluster() {
  need kubectl helm
  if [ -n "${PLATFORM_CONTEXT:-}" ]; then
    context=$PLATFORM_CONTEXT
    kubectl config get-contexts "$context" >/dev/null 2>&1 ||
      fail "your kubeconfig has no context $context: see \`kubectl config get-contexts\`"
    return
  fi
  choose_tool
  case $CLUSTER in
    minikube) context=$NAME ;;
    kind) context=kind-$NAME ;;
    *) fail "CLUSTER is minikube or kind, not $CLUSTER" ;;
  esac
  need "$CLUSTER"
  export KUBECONFIG=$STATE/kubeconfig
}

choose_tool() {
  if [ -n "${CLUSTER:-}" ]; then
    return
  elif [ -r "$STATE/tool" ]; then
    CLUSTER=$(<"$STATE/tool")
  elif command -v minikube >/dev/null; then
    CLUSTER=minikube
  elif command -v kind >/dev/null; then
    CLUSTER=kind
  else
    fail "there is neither minikube nor kind here. $(remedy minikube)" \
      'Or name a cluster that you have: PLATFORM_CONTEXT=its-context'
  fi
}

start_cluster() {
  [ -z "${PLATFORM_CONTEXT:-}" ] || return 0
  need docker make
  docker info >/dev/null 2>&1 || fail "Docker does not answer. $(remedy docker)"
  say "cluster $NAME, of $CLUSTER"
  mkdir -p "$STATE"
  printf '%s\n' "$CLUSTER" >"$STATE/tool"
  if [ "$CLUSTER" = minikube ]; then
    minikube start --profile "$NAME" --cpus "${PLATFORM_CPUS:-4}" \
      --memory "${PLATFORM_MEMORY_MB:-8192}"
  elif kind get clusters | grep -qx "$NAME"; then
    kind export kubeconfig --name "$NAME"
  else
    kind create cluster --name "$NAME" --wait 5m
  fi
  check_local
}

# What we think is on this machine must be.
check_local() {
  local server
  server=$(k config view --minify --output 'jsonpath={.clusters[0].cluster.server}')
  case $server in
    https://127.* | https://localhost:* | https://\[::1\]:*) ;;
    https://10.* | https://192.168.* | https://172.1[6-9].* | https://172.2?.* | https://172.3[01].*) ;;
    *)
      fail "the context $context leads to $server, which is no local cluster." \
        "If you mean it: PLATFORM_CONTEXT=$context"
      ;;
  esac
}

load_image() {
  local image
  [ -z "${PLATFORM_CONTEXT:-}" ] || return 0
  image=reach:$(sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$root/deploy/chart/Chart.yaml")
  say "image $image"
  make --directory "$root" image
  if [ "$CLUSTER" = minikube ]; then
    minikube image load "$image" --profile "$NAME"
  else
    kind load docker-image "$image" --name "$NAME"
  fi
}

delete_cluster() {
  say "deleting the cluster $NAME, of $CLUSTER"
  if [ "$CLUSTER" = minikube ]; then
    minikube delete --profile "$NAME"
  else
    kind delete cluster --name "$NAME"
  fi
  rm -rf "$STATE"
}
