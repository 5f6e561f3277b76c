{{/*
What the edge does is written once, for one machine and for clusters: files/edge.yaml is
deploy/traefik/dynamic/reach.yaml. Here it gets this site's numbers; the rest is taken as it is.
*/}}
{{- define "reach.edge.source" -}}
{{- $text := .Files.Get "files/edge.yaml" -}}
{{- if include "reach.edge.tls" . -}}
{{- $text = $text | replace "#tls# " "" -}}
{{- end -}}
{{- $http := ($text | fromYaml).http -}}
{{- $limits := .Values.edge.limits -}}
{{- $signupsRate := mergeOverwrite (index $http.middlewares "signups-rate" "rateLimit") $limits.signups -}}
{{- $restRate := mergeOverwrite (index $http.middlewares "rest-rate" "rateLimit") $limits.rest -}}
{{- $inFlight := mergeOverwrite (index $http.middlewares "in-flight" "inFlightReq") $limits.inFlight -}}
{{- range list $signupsRate $restRate $inFlight -}}
{{- $_ := set .sourceCriterion.ipStrategy "depth" $.Values.edge.proxiesBeforeTraefik -}}
{{- end -}}
{{- toYaml $http -}}
{{- end -}}

{{/* "yes" if TLS ends at Traefik; else empty. */}}
{{- define "reach.edge.tls" -}}
{{- $enabled := .Values.edge.tls.enabled -}}
{{- if kindIs "bool" $enabled -}}
{{- if $enabled -}}yes{{- end -}}
{{- else if hasPrefix "https://" .Values.publicUrl -}}
yes
{{- end -}}
{{- end -}}

{{/* The names that the edge answers to, as a JSON list. */}}
{{- define "reach.edge.hosts" -}}
{{- $own := regexReplaceAll ":[0-9]+$" (urlParse .Values.publicUrl).host "" -}}
{{- .Values.edge.hosts | default (list $own) | toJson -}}
{{- end -}}

{{/* Traefik's entry points, as a JSON list. */}}
{{- define "reach.edge.entryPoints" -}}
{{- $usual := ternary "websecure" "web" (eq (include "reach.edge.tls" .) "yes") -}}
{{- .Values.edge.entryPoints | default (list $usual) | toJson -}}
{{- end -}}

{{/* The paths of the sign-up endpoints, out of their router's rule, as a JSON list: (dict "http" $http). */}}
{{- define "reach.edge.signupPaths" -}}
{{- $paths := list -}}
{{- range regexFindAll "Path\\(`[^`]+`\\)" .http.routers.signups.rule -1 -}}
{{- $paths = append $paths (. | trimPrefix "Path(`" | trimSuffix "`)") -}}
{{- end -}}
{{- $paths | toJson -}}
{{- end -}}

{{/*
What else Reach has for the world. An Ingress and an HTTPRoute can only say what is let in; what
is not named here (/metrics, /livez, /readyz, /mailbox) is nobody's: 404.
*/}}
{{- define "reach.edge.paths" -}}
exact: [/check-your-inbox, /docs, /embed.js, /links/void, /openapi.json]
prefix:
  - /address
  - /confirm
  - /console
  - /manage
  - /problems
  - /static
  - /unsubscribe
  - /v1/audit
  - /v1/bounces
  - /v1/challenge
  - /v1/keys
  - /v1/me
  - /v1/messages
  - /v1/people
  - /v1/stats
  - /v1/suppressions
  - /v1/webhooks
{{- end -}}

{{/*
One expression for all of these paths: (dict "exact" list "prefix" list). It begins with /?^ because an
Ingress's path must begin with a slash, and an expression for a whole path with ^. A path with a control
character is nobody's, as in files/edge.yaml.
*/}}
{{- define "reach.edge.expression" -}}
{{- $all := list -}}
{{- range .exact -}}
{{- $all = append $all (regexQuoteMeta .) -}}
{{- end -}}
{{- $below := list -}}
{{- range .prefix -}}
{{- $below = append $below (regexQuoteMeta .) -}}
{{- end -}}
{{- if $below -}}
{{- $all = append $all (printf "(%s)(/[^\\x00-\\x1f\\x7f]*)?" (join "|" $below)) -}}
{{- end -}}
/?^({{ join "|" $all }})$
{{- end -}}

{{/* Reach, as Traefik's own objects refer to it: (dict "root" $ "http" $http). */}}
{{- define "reach.edge.backend" -}}
{{- $name := include "reach.name" .root -}}
kind: Service
name: {{ $name }}
# By its name: a number could be another one than the Service has.
port: http
passHostHeader: {{ .http.services.reach.loadBalancer.passHostHeader }}
serversTransport: {{ $name }}
{{- end -}}

{{/* "yes" if Traefik's Middlewares are used; else empty. */}}
{{- define "reach.edge.middlewares" -}}
{{- $edge := .Values.edge -}}
{{- if or (eq $edge.kind "ingressRoute") (and (has $edge.kind (list "ingress" "gateway")) $edge.middlewares) -}}
yes
{{- end -}}
{{- end -}}

{{/* The API's port in the Service: routes of the Gateway API name it by number. */}}
{{- define "reach.servicePort" -}}80{{- end -}}
