#!/usr/bin/env bash
# Tells Elasticsearch and Kibana about Reach's logs: how they are kept and for how long, and what
# to show of them. It can be run again: after an upgrade, or with half of it done.
#
#   ELASTICSEARCH_URL=https://elastic.example.org:9200 KIBANA_URL=https://kibana.example.org \
#   ELASTIC_API_KEY_FILE=/run/secrets/elastic-api-key ./import.sh
#
# The key is as Elasticsearch gave it ("encoded"), or id:api_key. Instead of the file, ELASTIC_API_KEY
# may hold it. A space of Kibana's is part of the address: https://kibana.example.org/s/reach.
# CURL_CA_BUNDLE names certificate authorities of your own.
set -euo pipefail

fail() {
  printf 'import.sh: %s\n' "$*" >&2
  exit 1
}

read_key() {
  if [ -n "${ELASTIC_API_KEY_FILE:-}" ]; then
    [ -z "${ELASTIC_API_KEY:-}" ] || fail 'set ELASTIC_API_KEY or ELASTIC_API_KEY_FILE, not both'
    [ -r "$ELASTIC_API_KEY_FILE" ] || fail "cannot read $ELASTIC_API_KEY_FILE"
    key=$(<"$ELASTIC_API_KEY_FILE")
  else
    key=${ELASTIC_API_KEY:-}
  fi
  # No process that this one starts is told.
  unset ELASTIC_API_KEY
  [ -n "$key" ] || fail 'set ELASTIC_API_KEY_FILE (or ELASTIC_API_KEY): a key that may manage' \
    'index templates, ILM and saved objects'
  case $key in
    *[!A-Za-z0-9+/=_:-]*) fail 'the API key has characters that no API key has' ;;
    *:*) key=$(printf %s "$key" | base64 | tr -d '\n') ;;
  esac
}

# call WHAT METHOD URL EXPECTED [CURL'S ARGUMENTS]: succeeds if the answer says EXPECTED. curl reads
# the key from its stdin, since everybody can read the arguments of a process.
call() {
  local what=$1 method=$2 url=$3 expected=$4 status
  shift 4
  status=$(printf 'header = "Authorization: ApiKey %s"\n' "$key" |
    curl --config - --silent --show-error --connect-timeout 10 --max-time 120 \
      --output "$answer" --write-out '%{http_code}' --request "$method" "$@" "$url") ||
    fail "$what: no answer from $method $url"
  case $status in
    2??) ;;
    *) fail "$what: $method $url said $status: $(head -c 2000 "$answer")" ;;
  esac
  grep -Eq "$expected" "$answer" ||
    fail "$what: $method $url did not do it: $(head -c 2000 "$answer")"
  printf 'import.sh: %s: done\n' "$what"
}

put() {
  call "$1" PUT "$elasticsearch/$2" '"acknowledged" *: *true' \
    --header 'Content-Type: application/json' --data-binary "@$3"
}

command -v curl >/dev/null || fail 'curl is not installed'
[ -n "${ELASTICSEARCH_URL:-}" ] || fail 'set ELASTICSEARCH_URL: https://elastic.example.org:9200'
[ -n "${KIBANA_URL:-}" ] || fail 'set KIBANA_URL: https://kibana.example.org'
read_key
elasticsearch=${ELASTICSEARCH_URL%/}
kibana=${KIBANA_URL%/}
cd "$(dirname "${BASH_SOURCE[0]}")"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

put 'lifecycle policy' _ilm/policy/reach-logs ilm-policy.json
put 'index template' _index_template/reach-logs index-template.json
call 'saved objects' POST "$kibana/api/saved_objects/_import?overwrite=true" '"success" *: *true' \
  --header 'kbn-xsrf: reach' --form 'file=@kibana.ndjson;type=application/ndjson'
