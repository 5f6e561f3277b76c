# shellcheck shell=bash disable=SC2154 # sourced by platform.sh, which has k, fail, has and root
# Two keys of Elasticsearch, as docs/guides/elastic.md has them: one for import.sh, for an hour, and one that
# can only write, which Filebeat gets. Runs in a subshell of its own, for its trap.

IMPORT_KEY='{"name": "reach-import", "expiration": "1h", "role_descriptors": {"reach-import": {
  "cluster": ["manage_ilm", "manage_index_templates"],
  "applications": [{"application": "kibana-.kibana", "privileges": ["space_all"],
                    "resources": ["space:default"]}]}}}'
FILEBEAT_KEY='{"name": "reach-filebeat", "role_descriptors": {"reach-filebeat": {
  "cluster": ["monitor"],
  "indices": [{"names": ["logs-reach-*", "logs-reach.rejected-*"],
               "privileges": ["auto_configure", "create_doc", "view_index_metadata"]}]}}}'
FORWARD_TRIES=150

# datum SECRET KEY
datum() {
  k get secret "$1" --namespace elastic --output "go-template={{index .data \"$2\" | base64decode}}"
}

# forward SERVICE PORT: until the subshell ends; the local port in $port
forward() {
  local log=$folder/$1 process tries
  : >"$log" # it is read before kubectl has begun
  # Not by k: the process to be ended would then be a shell's, and kubectl would go on without it.
  kubectl --context "$context" port-forward "service/$1" ":$2" --namespace elastic >"$log" 2>&1 &
  process=$!
  forwards+=("$process")
  for ((tries = 0; tries < FORWARD_TRIES; tries++)); do
    port=$(sed -n "s/^Forwarding from 127\.0\.0\.1:\([0-9]*\) -> $2\$/\1/p" "$log")
    [ -z "$port" ] || return 0
    kill -0 "$process" 2>/dev/null || break
    sleep 0.1
  done
  fail "cannot reach the service $1: $(<"$log")"
}

# new_key WHAT: the key, in base64. curl reads the password from its stdin, since everybody can read
# the arguments of a process.
new_key() {
  local answer
  answer=$(printf 'user = "elastic:%s"\n' "$password" |
    curl --config - --silent --show-error --fail --max-time 60 --noproxy '*' --cacert "$folder/ca.pem" \
      --header 'Content-Type: application/json' --data "$1" "$elasticsearch/_security/api_key") ||
    fail 'Elasticsearch gives no key'
  sed -n 's/.*"encoded" *: *"\([^"]*\)".*/\1/p' <<<"$answer" | grep . ||
    fail "Elasticsearch's answer has no key"
}

elastic_import() {
  forwards=()
  folder=$(mktemp -d)
  trap 'kill "${forwards[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
  datum reach-es-http-certs-public ca.crt >"$folder/ca.pem"
  datum reach-kb-http-certs-public ca.crt >>"$folder/ca.pem"
  password=$(datum reach-es-elastic-user elastic)
  forward reach-es-http 9200
  elasticsearch=https://localhost:$port
  forward reach-kb-http 5601
  (umask 077 && new_key "$IMPORT_KEY" >"$folder/key")
  CURL_CA_BUNDLE=$folder/ca.pem ELASTICSEARCH_URL=$elasticsearch KIBANA_URL=https://localhost:$port \
    ELASTIC_API_KEY_FILE=$folder/key no_proxy='*' "$root/deploy/elastic/import.sh"
  if ! has elastic secret reach-filebeat; then
    new_key "$FILEBEAT_KEY" | base64 --decode |
      k create secret generic reach-filebeat --namespace elastic --from-file=api-key=/dev/stdin
  fi
}
