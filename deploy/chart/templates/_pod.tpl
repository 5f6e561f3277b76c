{{/* A security context without the keys that a site has taken away by null, as YAML. */}}
{{- define "reach.security" -}}
{{- $kept := dict -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $kept $key $value -}}
{{- end -}}
{{- end -}}
{{- with $kept -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* What a pod of ours says first: (dict "root" $ "component" …). */}}
{{- define "reach.pod.begin" -}}
{{- $v := .root.Values -}}
serviceAccountName: {{ include "reach.account" . }}
automountServiceAccountToken: false
# Else the Service's own variables would be taken for settings: REACH_PORT=tcp://…
enableServiceLinks: false
{{- with include "reach.security" $v.podSecurityContext }}
securityContext: {{- . | nindent 2 }}
{{- end }}
{{- with $v.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $v.sidecars }}
initContainers:
  {{- range . }}
  {{- $security := deepCopy ($v.containerSecurityContext | default dict) }}
  {{- $own := deepCopy . }}
  {{- range $key, $value := $own.securityContext }}
  {{- $_ := set $security $key $value }}
  {{- end }}
  {{- $_ := set $own "restartPolicy" "Always" }}
  {{- $_ := set $own "securityContext" (include "reach.security" $security | fromYaml) }}
  - {{- toYaml $own | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where it may run: (dict "root" $ "component" …), and the values of that component. */}}
{{- define "reach.pod.place" -}}
{{- $own := get .root.Values (ternary "migrate" .component (eq .component "check")) -}}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Pods apart from each other: zones first, then hosts; each version by itself, while it rolls. */}}
{{- define "reach.pod.apart" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ (get $.root.Values $.component).whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include "reach.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end -}}

{{/* What a container of Reach is, but for its probes: (dict "root" $ "component" …). */}}
{{- define "reach.container" -}}
name: reach
image: {{ include "reach.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: [{{ .component }}]
env: {{- include "reach.env" . | nindent 2 }}
{{- with include "reach.security" .root.Values.containerSecurityContext }}
securityContext: {{- . | nindent 2 }}
{{- end }}
resources: {{- toYaml (get .root.Values (ternary "migrate" .component (eq .component "check"))).resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- range include "reach.files" . | fromYamlArray }}
  - name: {{ .name }}
    mountPath: /etc/reach/{{ .name }}
    readOnly: true
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "reach.volumes" -}}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- range include "reach.files" . | fromYamlArray }}
  - name: {{ .name }}
    {{- if .secret }}
    secret:
      secretName: {{ .secret }}
      defaultMode: 0440
      items:
        - key: {{ .key }}
          path: {{ .file }}
    {{- else }}
    configMap:
      name: {{ .configMap }}
    {{- end }}
  {{- end }}
  {{- with .root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Files out of Secrets and ConfigMaps that a component needs, as a YAML list. */}}
{{- define "reach.files" -}}
{{- $v := .root.Values -}}
{{- $templates := $v.emailTemplates.configMap -}}
{{- if $v.emailTemplates.files -}}
{{- $templates = printf "%s-templates" (include "reach.name" .root) -}}
{{- end -}}
{{- $files := list -}}
{{- if $v.database.ca.existingSecret -}}
{{- $files = append $files (dict "name" "database" "secret" $v.database.ca.existingSecret "key" $v.database.ca.key "file" "ca.crt") -}}
{{- end -}}
{{- if has .component (list "worker" "check") -}}
{{- if $v.smtp.ca.existingSecret -}}
{{- $files = append $files (dict "name" "smtp" "secret" $v.smtp.ca.existingSecret "key" $v.smtp.ca.key "file" "ca.crt") -}}
{{- end -}}
{{- if $v.dkim.selector -}}
{{- $files = append $files (dict "name" "dkim" "secret" $v.dkim.existingSecret "key" $v.dkim.key "file" "dkim.pem") -}}
{{- end -}}
{{- end -}}
{{- if and $templates (ne .component "migrate") -}}
{{- $files = append $files (dict "name" "templates" "configMap" $templates) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* (dict "root" $ "component" …): what rolls pods when the release's own Secret changes. */}}
{{- define "reach.pod.annotations" -}}
{{- $v := .root.Values -}}
# Eight digits tell a change, and are too few to try passwords against.
reach/secrets: {{ printf "%s %s %s %s" $v.database.url $v.redis.url $v.smtp.url $v.secretKey.value | sha256sum | trunc 8 | quote }}
{{- with (get $v .component).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}
