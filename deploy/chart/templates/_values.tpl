{{/*
A value as the text of a variable: numbers in full (not 1e+06), YAML's truths as what was written,
and no $(…) that Kubernetes would fill in.
*/}}
{{- define "reach.text" -}}
{{- if kindIs "bool" . -}}
{{- ternary "on" "off" . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- toString . | replace "$(" "$$(" -}}
{{- end -}}
{{- end -}}

{{/* The Secret, as JSON: name and key: (dict "root" $ "of" "database" "own" "database-url"). */}}
{{- define "reach.secret" -}}
{{- $given := get .root.Values .of -}}
{{- if $given.existingSecret -}}
{{- dict "name" $given.existingSecret "key" (.key | default $given.key) | toJson -}}
{{- else -}}
{{- dict "name" (printf "%s-%s" (include "reach.name" .root) (.suffix | default "urls")) "key" .own | toJson -}}
{{- end -}}
{{- end -}}

{{/* "yes" if there is a Redis, a mail server …: (dict "root" $ "of" "redis"). */}}
{{- define "reach.given" -}}
{{- $given := get .root.Values .of -}}
{{- if or $given.existingSecret $given.url -}}yes{{- end -}}
{{- end -}}

{{/*
A URL's scheme, host and port, as JSON; all empty if it cannot be read. Not by urlParse: helm says what
that could not read, with the password in it.
*/}}
{{- define "reach.url" -}}
{{- $person := "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?" -}}
{{- $host := "(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]*)" -}}
{{- $form := printf "^([A-Za-z+]+)://%s%s(?::([0-9]+))?(?:[/?][^@#\\s]*)?$" $person $host -}}
{{- $parts := dict "scheme" "" "host" "" "port" "" -}}
{{- if regexMatch $form . -}}
{{- range $index, $part := list "scheme" "host" "port" -}}
{{- $_ := set $parts $part (regexReplaceAll $form $ (printf "${%d}" (add1 $index)) | lower) -}}
{{- end -}}
{{- end -}}
{{- toJson $parts -}}
{{- end -}}

{{/* Ports, as a JSON list: those given, that of the URL, the usual ones: (dict "root" $ "of" …). */}}
{{- define "reach.ports" -}}
{{- $usual := dict "database" (list 5432) "redis" (list 6379) "smtp" (list 25 465 587) "oidc" (list 443) "bounceMailbox" (list 993 143) -}}
{{- $byScheme := dict "smtp" 25 "smtps" 465 "smtp+starttls" 587 "http" 80 "https" 443 -}}
{{- $policy := get .root.Values.networkPolicy .of -}}
{{- $given := get .root.Values .of -}}
{{- $url := $given.url | default $given.endpoint | default $given.issuer -}}
{{- if $policy.ports -}}
{{- $policy.ports | toJson -}}
{{- else if and $url (or $given.issuer (not $given.existingSecret)) -}}
{{- $parts := include "reach.url" $url | fromJson -}}
{{- if $parts.port -}}
{{- list (int $parts.port) | toJson -}}
{{- else if hasKey $byScheme $parts.scheme -}}
{{- list (get $byScheme $parts.scheme) | toJson -}}
{{- else -}}
{{- get $usual .of | toJson -}}
{{- end -}}
{{- else -}}
{{- get $usual .of | toJson -}}
{{- end -}}
{{- end -}}

{{/* The image, by digest or tag. */}}
{{- define "reach.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Whose identity pods have; the migration's is there before the others'. */}}
{{- define "reach.account" -}}
{{- if not .root.Values.serviceAccount.create -}}
{{- .root.Values.serviceAccount.name | default "default" -}}
{{- else if eq .component "migrate" -}}
{{- include "reach.name" .root }}-migrate
{{- else -}}
{{- include "reach.name" .root -}}
{{- end -}}
{{- end -}}
