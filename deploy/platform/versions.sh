# shellcheck shell=bash disable=SC2034 # read by platform.sh and elastic.sh
# Every version of somebody else's that platform.sh installs, and where its chart comes from. What is
# known of each, and what nobody could fetch where this was made, is in docs/reference/not-run.md.

TRAEFIK_REPO=https://traefik.github.io/charts
TRAEFIK_VERSION=41.7.1
# aliasHeadersStrategy needs 3.7.12; the tests run this one.
TRAEFIK_TAG=v3.7.15

CNPG_REPO=https://cloudnative-pg.github.io/charts
CNPG_VERSION=0.29.1
POSTGRES_IMAGE=ghcr.io/cloudnative-pg/postgresql:18.6-system-trixie

VALKEY_REPO=https://valkey.io/valkey-helm/
VALKEY_VERSION=1.0.0

MAILPIT_IMAGE=docker.io/axllent/mailpit:v1.30.7

METRICS_SERVER_REPO=https://kubernetes-sigs.github.io/metrics-server/
METRICS_SERVER_VERSION=3.13.1

PROMETHEUS_REPO=https://prometheus-community.github.io/helm-charts
PROMETHEUS_STACK_VERSION=93.9.0
PROMETHEUS_ADAPTER_VERSION=5.3.0

ECK_REPO=https://helm.elastic.co
ECK_VERSION=3.5.0
ELASTIC_VERSION=9.4.6
