{{/* What cannot work is refused here, before anything is changed. */}}
{{- define "reach.checks" -}}
{{- $v := .Values -}}
{{- if not $v.publicUrl -}}
{{- fail "publicUrl must be set: what links in emails call this service, such as https://signup.example.org" -}}
{{- end -}}
{{- if not (regexMatch "^https?://[^/?#@*\\s]+/?$" $v.publicUrl) -}}
{{- fail "publicUrl must be a scheme and one host, such as https://signup.example.org, with no * in it" -}}
{{- end -}}
{{- if not $v.mailFrom -}}
{{- fail "mailFrom must be set: whom emails come from, such as Example <hello@example.org>" -}}
{{- end -}}
{{- include "reach.checks.url" (dict "root" . "of" "database" "schemes" "postgres(ql)?" "as" "postgresql://") -}}
{{- include "reach.checks.url" (dict "root" . "of" "redis" "schemes" "rediss?" "as" "redis:// or rediss://") -}}
{{- include "reach.checks.url" (dict "root" . "of" "smtp" "schemes" "smtps?|smtp\\+starttls" "as" "smtp+starttls://, smtps:// or smtp://") -}}
{{- if not (include "reach.given" (dict "root" . "of" "database")) -}}
{{- fail "database.existingSecret or database.url must be set: pods share no disk, so SQLite will not do; use Postgres" -}}
{{- end -}}
{{- if not (include "reach.given" (dict "root" . "of" "smtp")) -}}
{{- fail "smtp.existingSecret or smtp.url must be set: the mail server that takes what Reach sends" -}}
{{- end -}}
{{- if and $v.traces.endpoint (not (has (include "reach.url" $v.traces.endpoint | fromJson).scheme (list "http" "https"))) -}}
{{- fail "traces.endpoint must be a URL such as http://collector.monitoring.svc:4318" -}}
{{- end -}}
{{- include "reach.checks.tls" . -}}
{{- include "reach.checks.counting" . -}}
{{- include "reach.checks.memory" . -}}
{{- if and $v.secretKey.existingSecret $v.secretKey.value -}}
{{- fail "secretKey.existingSecret and secretKey.value are both set: keep one" -}}
{{- end -}}
{{- if and $v.secretKey.value (lt (len $v.secretKey.value) 32) -}}
{{- fail "secretKey.value must have 32 characters or more: try `openssl rand -hex 32`" -}}
{{- end -}}
{{- if and (ne $v.edge.kind "none") (not $v.edge.trustedProxies) -}}
{{- fail "edge.trustedProxies must be set: the network of the proxy's pods, such as [10.244.0.0/16]. Without it everybody has the proxy's address, and all share one limit" -}}
{{- end -}}
{{- if and $v.oidc.existingSecret (not $v.oidc.issuer) -}}
{{- fail "oidc.issuer must be set beside oidc.existingSecret: where operators sign in, such as https://login.example.org" -}}
{{- end -}}
{{- if and $v.oidc.issuer (not (and (get $v.settings "REACH_OIDC_CLIENT_ID") (get $v.settings "REACH_OIDC_GRANTS"))) -}}
{{- fail "settings.REACH_OIDC_CLIENT_ID and settings.REACH_OIDC_GRANTS must be set beside oidc.issuer: who Reach is there, and who may do what" -}}
{{- end -}}
{{- if and $v.inbound.enabled (not (or (get $v.settings "REACH_RETURN_PATH") (get $v.settings "REACH_COMPLAINTS_ADDRESS"))) -}}
{{- fail "settings.REACH_RETURN_PATH must be set beside inbound.enabled: where bounces come back to, such as bounces@mail.example.org" -}}
{{- end -}}
{{- if and $v.bounceMailbox.existingSecret (not $v.inbound.enabled) -}}
{{- fail "inbound.enabled must be set beside bounceMailbox.existingSecret: it reads the mailbox" -}}
{{- end -}}
{{- if and $v.dkim.existingSecret (not $v.dkim.selector) -}}
{{- fail "dkim.selector must be set beside dkim.existingSecret: the name under which the public key is published" -}}
{{- end -}}
{{- if and $v.dkim.selector (not $v.dkim.existingSecret) -}}
{{- fail "dkim.existingSecret must be set beside dkim.selector: a Secret with the private key" -}}
{{- end -}}
{{- if and $v.emailTemplates.configMap $v.emailTemplates.files -}}
{{- fail "emailTemplates.configMap and emailTemplates.files are both set: keep one" -}}
{{- end -}}
{{- range regexSplit "[\\s,]+" (get $v.settings "REACH_DNS_SERVERS" | default "" | toString | trim) -1 -}}
{{- if and . (not (regexMatch "^(\\[[0-9A-Fa-f:.]+\\](:[0-9]+)?|[0-9.]+(:[0-9]+)?|[0-9A-Fa-f:]+)$" .)) -}}
{{- fail "settings.REACH_DNS_SERVERS holds addresses, with or without ports, and no names" -}}
{{- end -}}
{{- end -}}
{{- range $v.extraVolumes -}}
{{- if has .name (list "tmp" "database" "smtp" "dkim" "templates") -}}
{{- printf "extraVolumes: %s is a volume of Reach's own: choose another name" .name | fail -}}
{{- end -}}
{{- end -}}
{{- range $v.extraVolumeMounts -}}
{{- if or (hasPrefix "/etc/reach" .mountPath) (has (trimSuffix "/" .mountPath) (list "/tmp" "/")) -}}
{{- printf "extraVolumeMounts: %s is a place of Reach's own: choose another one" .mountPath | fail -}}
{{- end -}}
{{- end -}}
{{- range list "api" "worker" -}}
{{- $scaling := (get $v .).autoscaling -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- printf "%s.autoscaling.minReplicas is above maxReplicas" . | fail -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* One way of naming a server, and a URL that Reach reads. Its words never repeat the URL. */}}
{{- define "reach.checks.url" -}}
{{- $given := get .root.Values .of -}}
{{- if and $given.existingSecret $given.url -}}
{{- printf "%s.existingSecret and %s.url are both set: keep one" .of .of | fail -}}
{{- end -}}
{{- if and (or $given.userKey $given.passwordKey) (not $given.existingSecret) -}}
{{- printf "%s.existingSecret must be set beside %s.userKey or %s.passwordKey: they are keys of it" .of .of .of | fail -}}
{{- end -}}
{{- if and $given.directUrlKey (not $given.existingSecret) -}}
{{- printf "%s.existingSecret must be set beside %s.directUrlKey: it is a key of it" .of .of | fail -}}
{{- end -}}
{{- if and $given.url (hasPrefix "sqlite" $given.url) -}}
{{- printf "%s.url names SQLite, a file on one machine, and pods share no disk: use Postgres, postgresql://user:password@host:5432/name" .of | fail -}}
{{- end -}}
{{- if and $given.url (not (regexMatch (printf "^(%s)://[^/]" .schemes) $given.url)) -}}
{{- printf "%s.url must start with %s" .of .as | fail -}}
{{- end -}}
{{- if and $given.url (not (include "reach.url" $given.url | fromJson).scheme) -}}
{{- printf "%s.url cannot be read: name one host, and percent-encode the password (%% is %%25, / is %%2F, @ is %%40, # is %%23, ? is %%3F, ^ is %%5E, a quotation mark is %%22, a space is %%20), or keep it in a Secret: %s.existingSecret and %s.passwordKey" .of .of .of | fail -}}
{{- end -}}
{{- if and (eq .of "database") (regexMatch "[?&](host|port)=" $given.url) (not .root.Values.networkPolicy.database.ports) -}}
{{- fail "database.url names a host or a port among its parameters: set networkPolicy.database.ports, or write them before the database's name" -}}
{{- end -}}
{{- end -}}

{{- define "reach.checks.tls" -}}
{{- $database := .Values.database -}}
{{- if and $database.ca.existingSecret (not (has $database.sslMode (list "require" "verify-ca" "verify-full"))) -}}
{{- fail "database.sslMode must be verify-full or verify-ca beside database.ca.existingSecret: else nobody looks at it" -}}
{{- end -}}
{{- if and $database.sslMode (contains "?" $database.url) -}}
{{- fail "database.url has parameters: write sslmode among them, and leave database.sslMode empty" -}}
{{- end -}}
{{- end -}}

{{/* DESIGN §8: a process that counts alone must be alone. Pods cannot see each other, so it is said here. */}}
{{- define "reach.checks.counting" -}}
{{- $api := .Values.api -}}
{{- $pods := ternary $api.autoscaling.maxReplicas $api.replicas $api.autoscaling.enabled | int -}}
{{- $limited := list -}}
{{- range list "REACH_LIMIT_SIGNUPS" "REACH_LIMIT_API" "REACH_LIMIT_FAILED_KEYS" -}}
{{- if ne (include "reach.text" (get $.Values.settings .) | trim | lower) "off" -}}
{{- $limited = append $limited . -}}
{{- end -}}
{{- end -}}
{{- if and (gt (mul $pods $api.processes | int) 1) $limited (not (include "reach.given" (dict "root" . "of" "redis"))) -}}
{{- printf "%d API processes must count together: set redis.existingSecret or redis.url, or api.replicas: 1, api.processes: 1 and no autoscaling, or lift the limits in settings: %s, each \"off\"" (mul $pods $api.processes | int) (join ", " $limited) | fail -}}
{{- end -}}
{{- end -}}

{{/* More processes than the limit has room for are killed, started again, and killed. */}}
{{- define "reach.checks.memory" -}}
{{- $api := .Values.api -}}
{{- $limit := dig "limits" "memory" "" ($api.resources | default dict) | include "reach.text" -}}
{{- $factors := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexReplaceAll "^[0-9.]+" $limit "" -}}
{{- if and $limit (hasKey $factors $unit) -}}
{{- $bytes := mulf (trimSuffix $unit $limit | float64) (get $factors $unit) -}}
{{- if lt $bytes (mulf $api.processes 120e6) -}}
{{- printf "api.resources.limits.memory (%s) is too little for api.processes: %d: each needs about 120 MB, so set %dMi or more" $limit (int $api.processes) (mul $api.processes 128 | int) | fail -}}
{{- end -}}
{{- end -}}
{{- end -}}
