{{/* One variable: (dict "name" … "value" …); left out if it is empty. */}}
{{- define "reach.env.text" -}}
{{- $text := include "reach.text" .value -}}
{{- if $text }}
- name: {{ .name }}
  value: {{ $text | quote }}
{{- end -}}
{{- end -}}

{{/* One out of a Secret: (dict "root" $ "name" … "of" "redis" "own" "redis-url"). */}}
{{- define "reach.env.secret" -}}
{{- $secret := include "reach.secret" . | fromJson }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.key }}
{{- end -}}

{{/* Who logs in with what, if that is not in the URL: (dict "root" $ "of" "redis"). */}}
{{- define "reach.env.login" -}}
{{- $given := get .root.Values .of -}}
{{- $of := .of -}}
{{- range $part := list "user" "password" -}}
{{- with get $given (printf "%sKey" $part) }}
- name: {{ printf "REACH_%s_%s" $of $part | upper }}
  valueFrom:
    secretKeyRef:
      name: {{ $given.existingSecret }}
      key: {{ . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Where the database is: (dict "root" $ "component" …). Kubernetes puts the parameters behind a URL that
only the Secret knows. The migration has a Secret of its own: the release's may not be there yet.
*/}}
{{- define "reach.env.database" -}}
{{- $database := .root.Values.database -}}
{{- $suffix := ternary "migrate" "urls" (eq .component "migrate") -}}
{{- $secret := dict "root" .root "of" "database" "own" "database-url" "suffix" $suffix -}}
{{- include "reach.env.postgres" (set $secret "name" "DATABASE_URL") -}}
{{- include "reach.env.login" (dict "root" .root "of" "database") -}}
{{- with $database.directUrlKey -}}
{{- include "reach.env.postgres" (dict "root" $.root "of" "database" "key" . "name" "DATABASE_DIRECT_URL") -}}
{{- end -}}
{{- end -}}

{{/* One of its URLs, with its parameters: (dict "root" $ … "name" "DATABASE_URL"). */}}
{{- define "reach.env.postgres" -}}
{{- $database := .root.Values.database -}}
{{- if $database.sslMode -}}
{{- include "reach.env.secret" . }}
- name: REACH_{{ .name }}
  value: "$({{ .name }})?sslmode={{ $database.sslMode }}
    {{- if $database.ca.existingSecret }}&sslrootcert=/etc/reach/database/ca.crt{{ end }}"
{{- else -}}
{{- include "reach.env.secret" (merge (dict "name" (printf "REACH_%s" .name)) .) }}
{{- end -}}
{{- end -}}

{{- define "reach.env.api" -}}
{{- include "reach.env.text" (dict "name" "REACH_PROCESSES" "value" .Values.api.processes) -}}
{{- include "reach.env.text" (dict "name" "REACH_TRUSTED_PROXIES" "value" (join ", " .Values.edge.trustedProxies)) -}}
{{- if include "reach.given" (dict "root" . "of" "redis") -}}
{{- include "reach.env.secret" (dict "root" . "of" "redis" "own" "redis-url" "name" "REACH_REDIS_URL") -}}
{{- include "reach.env.login" (dict "root" . "of" "redis") -}}
{{- end -}}
{{- if .Values.oidc.existingSecret -}}
{{- include "reach.env.secret" (dict "root" . "of" "oidc" "name" "REACH_OIDC_CLIENT_SECRET") -}}
{{- end -}}
{{- with .Values.bounces.existingSecret -}}
{{- range $name := list "POSTMARK_SECRET" "MAILGUN_KEY" "RESEND_SECRET" "GENERIC_SECRET" }}
- name: REACH_BOUNCES_{{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.bounces.existingSecret }}
      key: REACH_BOUNCES_{{ $name }}
      optional: true
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "reach.env.worker" -}}
{{- include "reach.env.text" (dict "name" "REACH_WORKER_SLOTS" "value" .Values.worker.slots) -}}
{{- $smtp := ternary "REACH_SMTP_URLS" "REACH_SMTP_URL" .Values.smtp.several -}}
{{- include "reach.env.secret" (dict "root" . "of" "smtp" "own" "smtp-url" "name" $smtp) -}}
{{- include "reach.env.login" (dict "root" . "of" "smtp") -}}
{{- with .Values.smtp.oauth -}}
{{- $secret := .existingSecret -}}
{{- $keys := dict "REACH_SMTP_OAUTH_CLIENT_SECRET" .clientSecretKey "REACH_SMTP_OAUTH_REFRESH_TOKEN" .refreshTokenKey -}}
{{- range $name, $key := $keys -}}
{{- if and $secret $key }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.smtp.ca.existingSecret -}}
{{- include "reach.env.text" (dict "name" "REACH_SMTP_CA_FILE" "value" "/etc/reach/smtp/ca.crt") -}}
{{- end -}}
{{- if .Values.dkim.selector -}}
{{- include "reach.env.text" (dict "name" "REACH_DKIM_SELECTOR" "value" .Values.dkim.selector) -}}
{{- include "reach.env.text" (dict "name" "REACH_DKIM_DOMAIN" "value" .Values.dkim.domain) -}}
{{- include "reach.env.text" (dict "name" "REACH_DKIM_PRIVATE_KEY_FILE" "value" "/etc/reach/dkim/dkim.pem") -}}
{{- end -}}
{{- end -}}

{{- define "reach.env.inbound" -}}
{{- if .Values.bounceMailbox.existingSecret -}}
{{- include "reach.env.secret" (dict "root" . "of" "bounceMailbox" "name" "REACH_BOUNCE_MAILBOX_URL") -}}
{{- end -}}
{{- end -}}

{{/* Where a service listens. The image says so too; what the ports are is agreed upon here. */}}
{{- define "reach.env.ports" -}}
{{- if eq .component "api" -}}
{{- include "reach.env.text" (dict "name" "REACH_HOST" "value" .root.Values.host) -}}
{{- include "reach.env.text" (dict "name" "REACH_PORT" "value" 8000) -}}
{{- end -}}
{{- if eq .component "inbound" -}}
{{- $host := .root.Values.host -}}
{{- $place := printf "lmtp://%s:8024" (ternary (printf "[%s]" $host) $host (contains ":" $host)) -}}
{{- include "reach.env.text" (dict "name" "REACH_INBOUND_BIND" "value" $place) -}}
{{- end -}}
{{- include "reach.env.text" (dict "name" "REACH_METRICS_HOST" "value" .root.Values.host) -}}
{{- include "reach.env.text" (dict "name" "REACH_METRICS_PORT" "value" 9090) -}}
{{- end -}}

{{/*
The variables of a container: (dict "root" $ "component" …). Each knows what it needs: the API no
mail server, the worker no Redis, the migration nothing but the database. `check` asks them all.
*/}}
{{- define "reach.env" -}}
{{- $v := .root.Values -}}
{{- include "reach.env.database" . -}}
{{- if eq .component "migrate" -}}
{{- include "reach.env.text" (dict "name" "REACH_LOG_LEVEL" "value" (get $v.settings "REACH_LOG_LEVEL" | default "")) -}}
{{- else -}}
{{- include "reach.env.text" (dict "name" "REACH_PUBLIC_URL" "value" $v.publicUrl) -}}
{{- include "reach.env.text" (dict "name" "REACH_MAIL_FROM" "value" $v.mailFrom) -}}
{{- include "reach.env.text" (dict "name" "REACH_BRAND_NAME" "value" $v.brandName) -}}
{{- include "reach.env.text" (dict "name" "REACH_REPLY_TO" "value" $v.replyTo) -}}
{{- include "reach.env.text" (dict "name" "REACH_GRACE_SECONDS" "value" $v.graceSeconds) -}}
{{- include "reach.env.secret" (dict "root" .root "of" "secretKey" "own" "secret-key" "suffix" (ternary "urls" "secret-key" (ne $v.secretKey.value "")) "name" "REACH_SECRET_KEY") -}}
{{- if or $v.emailTemplates.configMap $v.emailTemplates.files -}}
{{- include "reach.env.text" (dict "name" "REACH_TEMPLATES_DIR" "value" "/etc/reach/templates") -}}
{{- end -}}
{{- include "reach.env.text" (dict "name" "REACH_OIDC_ISSUER" "value" $v.oidc.issuer) -}}
{{- range $name, $value := $v.settings -}}
{{- include "reach.env.text" (dict "name" $name "value" $value) -}}
{{- end -}}
{{- if $v.traces.endpoint -}}
{{- include "reach.env.text" (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" $v.traces.endpoint) -}}
{{- end -}}
{{- if has .component (list "api" "check") -}}
{{- include "reach.env.api" .root -}}
{{- end -}}
{{- if has .component (list "worker" "check") -}}
{{- include "reach.env.worker" .root -}}
{{- end -}}
{{- if eq .component "inbound" -}}
{{- include "reach.env.inbound" .root -}}
{{- end -}}
{{- if has .component (list "api" "worker" "inbound") -}}
{{- include "reach.env.ports" . -}}
{{- end -}}
{{- end -}}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end -}}
{{- end -}}
