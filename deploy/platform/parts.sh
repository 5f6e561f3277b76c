# shellcheck shell=bash disable=SC2154 # sourced by platform.sh, which has k, h, say, fail, has
# What is installed, part by part, and how it is taken away again.

VALUES=$root/deploy/chart/values-minikube.yaml
# What links in emails call it: the port is that of the `kubectl port-forward` to Traefik.
ADDRESS=http://signup.localhost:8080

is_ours() {
  local found
  found=$(k get namespace --selector "$OURS" --field-selector "metadata.name=$1" --output name) ||
    exit 1
  [ -n "$found" ]
}

# ours NAMESPACE LEVEL: make it, allowed no more than it needs (Pod Security Standards). One that
# somebody else made is left alone.
ours() {
  if has default namespace "$1" && ! is_ours "$1"; then
    fail "the namespace $1 is there, and not made by platform.sh. Leave its part out: PARTS='...'"
  fi
  k apply --filename - <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $1
  labels: {app.kubernetes.io/part-of: reach-platform, pod-security.kubernetes.io/enforce: $2}
END
}

# A file of this folder, with the versions filled in.
manifest() {
  sed -e "s|@POSTGRES_IMAGE@|$POSTGRES_IMAGE|" -e "s|@MAILPIT_IMAGE@|$MAILPIT_IMAGE|" \
    -e "s|@ELASTIC_VERSION@|$ELASTIC_VERSION|" "$here/$1"
}

# install RELEASE NAMESPACE CHART REPOSITORY VERSION [HELM'S ARGUMENTS]
install() {
  local release=$1 namespace=$2 chart=$3 repository=$4 version=$5
  shift 5
  say "$release: chart $chart $version"
  h upgrade --install "$release" "$chart" --repo "$repository" --version "$version" \
    --namespace "$namespace" --timeout "$WAIT" "$@"
}

established() {
  local kind
  for kind; do k wait --for=condition=Established "crd/$kind" --timeout=120s; done
}

# secret NAMESPACE NAME KEY=VALUE...: made once, and never changed. No value is in a process's
# arguments.
secret() {
  local namespace=$1 name=$2 pair
  shift 2
  ! has "$namespace" secret "$name" || return 0
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData:\n' \
      "$name" "$namespace"
    for pair; do printf '  %s: "%s"\n' "${pair%%=*}" "${pair#*=}"; done
  } | k create --filename -
}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

up_database() {
  ours cnpg-system baseline
  ours reach restricted
  install cnpg cnpg-system cloudnative-pg "$CNPG_REPO" "$CNPG_VERSION" \
    --values "$here/cnpg.yaml" --wait
  established clusters.postgresql.cnpg.io
  manifest database.yaml | k apply --filename -
  say 'reach-db: waiting for three Postgres'
  k wait --namespace reach --for=condition=Ready clusters.postgresql.cnpg.io/reach-db \
    --timeout="$WAIT"
}

up_cache() {
  local password
  password=$(random)
  ours reach restricted
  secret reach reach-valkey "default=$password" \
    "url=redis://default:$password@reach-valkey.reach.svc:6379/0"
  install reach-valkey reach valkey "$VALKEY_REPO" "$VALKEY_VERSION" \
    --values "$here/valkey.yaml" --wait
}

up_mail() {
  ours reach restricted
  say 'reach-mailpit'
  manifest mailpit.yaml | k apply --filename -
  k rollout status deployment/reach-mailpit --namespace reach --timeout="$WAIT"
}

up_edge() {
  ours traefik baseline
  # Not --wait: a local cluster gives its Service no address.
  install traefik traefik traefik "$TRAEFIK_REPO" "$TRAEFIK_VERSION" \
    --values "$root/deploy/traefik/cluster.yaml" --values "$here/traefik.yaml" \
    --set-string "image.tag=$TRAEFIK_TAG"
  k rollout status deployment/traefik --namespace traefik --timeout="$WAIT"
  established ingressroutes.traefik.io middlewares.traefik.io
}

up_metrics() {
  # node-exporter looks at the node itself.
  ours monitoring privileged
  # GKE and others have a metrics-server of their own.
  if ! has kube-system apiservice v1beta1.metrics.k8s.io ||
    has kube-system deployment reach-metrics-server; then
    install reach-metrics-server kube-system metrics-server "$METRICS_SERVER_REPO" \
      "$METRICS_SERVER_VERSION" --values "$here/metrics-server.yaml" --wait
  fi
  # Nobody is paged until somebody says whom.
  secret monitoring reach-alerts on-call-key=not-set chat-webhook-url=http://127.0.0.1:9/not-set
  secret monitoring reach-grafana admin-user=admin "admin-password=$(random)"
  alertmanager_values | install kube-prometheus-stack monitoring kube-prometheus-stack \
    "$PROMETHEUS_REPO" "$PROMETHEUS_STACK_VERSION" --values "$here/prometheus.yaml" --values - --wait
  established servicemonitors.monitoring.coreos.com prometheusrules.monitoring.coreos.com
  install prometheus-adapter monitoring prometheus-adapter "$PROMETHEUS_REPO" \
    "$PROMETHEUS_ADAPTER_VERSION" --values "$here/prometheus-adapter.yaml" --wait
  if has default crd clusters.postgresql.cnpg.io; then
    k apply --filename "$here/database-metrics.yaml"
  fi
}

# deploy/prometheus/alertmanager.yaml as the chart takes it, its files where the operator puts them.
alertmanager_values() {
  printf 'alertmanager:\n  config:\n'
  sed -e 's|: /etc/alertmanager/|: /etc/alertmanager/secrets/reach-alerts/|' -e 's/^\(.\)/    \1/' \
    "$root/deploy/prometheus/alertmanager.yaml"
}

up_logs() {
  need curl
  ours elastic-system baseline
  # Filebeat reads the node's log files.
  ours elastic privileged
  install eck-operator elastic-system eck-operator "$ECK_REPO" "$ECK_VERSION" \
    --values "$here/eck.yaml" --wait
  established elasticsearches.elasticsearch.k8s.elastic.co kibanas.kibana.k8s.elastic.co
  manifest elastic.yaml | k apply --filename -
  say 'elastic: waiting for Elasticsearch and Kibana'
  k wait --namespace elastic --for='jsonpath={.status.phase}=Ready' \
    elasticsearches.elasticsearch.k8s.elastic.co/reach --timeout=15m
  k wait --namespace elastic --for='jsonpath={.status.health}=green' \
    kibanas.kibana.k8s.elastic.co/reach --timeout=15m
  # Before Filebeat sends its first line: a data stream has the template that was there when it began.
  (elastic_import)
  k create configmap reach-filebeat --namespace elastic --dry-run=client --output yaml \
    --from-file=filebeat.yml="$root/deploy/elastic/filebeat-kubernetes.yaml" | k apply --filename -
  manifest filebeat.yaml | k apply --filename -
  k rollout status daemonset/reach-filebeat --namespace elastic --timeout="$WAIT"
}

up_app() {
  local settings=(--values "$VALUES" --set-string "publicUrl=$ADDRESS")
  if [ -n "${PLATFORM_VALUES:-}" ]; then
    settings=(--values "$PLATFORM_VALUES")
  else
    # What else is there is made use of.
    settings+=(--set "edge.kind=$(wanted edge && echo ingressRoute || echo none)")
    ! wanted metrics || settings+=(--set "monitoring.enabled=true,api.autoscaling.enabled=true" \
      --set "worker.autoscaling.enabled=true,worker.autoscaling.source=adapter")
  fi
  ours reach restricted
  say 'reach: the migration, then the API and the worker'
  h upgrade --install reach "$root/deploy/chart" --namespace reach --timeout 25m --wait \
    "${settings[@]}"
}

# On a cluster that is not ours: Reach first, then what it stands on; custom resources before the
# operators that must tidy up after them; and only namespaces that are labelled as ours.
remove_parts() {
  uninstall reach reach
  ! is_ours elastic || k delete --ignore-not-found --filename "$here/filebeat.yaml"
  remove_custom elastic kibanas.kibana.k8s.elastic.co
  remove_custom elastic elasticsearches.elasticsearch.k8s.elastic.co
  uninstall eck-operator elastic-system
  uninstall prometheus-adapter monitoring
  uninstall kube-prometheus-stack monitoring
  uninstall reach-metrics-server kube-system
  uninstall traefik traefik
  uninstall reach-valkey reach
  remove_custom reach clusters.postgresql.cnpg.io
  uninstall cnpg cnpg-system
  k delete namespace --selector "$OURS" --ignore-not-found
  say 'left: the kinds (CRDs) that the charts brought; others may use them'
}

# Nothing in a namespace that is not ours, but what bears our name.
uninstall() {
  if [[ $1 == reach-* ]] || is_ours "$2"; then
    h uninstall "$1" --namespace "$2" --ignore-not-found --wait --timeout "$WAIT"
  fi
}

remove_custom() {
  if is_ours "$1" && has "$1" crd "$2"; then
    k delete "$2" --namespace "$1" --ignore-not-found --selector "$OURS" --timeout="$WAIT"
  fi
}
