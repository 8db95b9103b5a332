{{- /* What 0.1 had no value for is absent where its values are reused: such a value is read with a default. */}}
{{- define "krs.name" -}}
{{- $name := .Values.nameOverride | default .Chart.Name }}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) }}
{{- $full | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- /* For objects outside of the namespace of the release: releases of one name in two namespaces live side by side. */}}
{{- define "krs.fullName" -}}
{{ .Release.Namespace }}-{{ include "krs.name" . }}
{{- end }}
{{- define "krs.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: importer
{{- end }}
{{- define "krs.labels" -}}
{{- $own := include "krs.selector" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/part-of" "kuberegistrysync" }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- merge $own (.Values.commonLabels | default dict) | toYaml }}
{{- end }}
{{- define "krs.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "krs.name" .) }}
{{- end }}
{{- define "krs.image" -}}
{{- $repository := .Values.image.repository }}
{{- with dig "imageRegistry" "" (.Values.global | default dict) }}
{{- /* As Docker tells a registry from the first part of a repository. */}}
{{- $repository = regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "" | printf "%s/%s" . }}
{{- end }}
{{- $repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
{{- define "krs.keysSecret" -}}
{{ .Values.trustedKeys.existingSecret | default (printf "%s-trusted-keys" (include "krs.name" .)) }}
{{- end }}
{{- /*
A volume of a node, and the claim that is bound to it, can hardly be changed: their names follow what they are made of. A
claim that the chart creates keeps its name, since it holds bundles.
*/}}
{{- define "krs.claim" -}}
{{- $drop := .Values.dropFolder }}
{{- if $drop.existingClaim }}{{ $drop.existingClaim }}
{{- else }}{{ include "krs.name" . }}-bundles
{{- if $drop.node.path }}-{{ list $drop.node.path $drop.node.hostname $drop.node.size | toJson | sha256sum | trunc 8 }}{{ end }}
{{- end }}
{{- end }}
{{- /* Whether receipts are written to media; empty: no. */}}
{{- define "krs.receiptsToMedia" -}}
{{- if dig "toMedia" false (.Values.receipts | default dict) }}true{{ end }}
{{- end }}
{{- /* Group and user, unless the platform assigns them. */}}
{{- define "krs.podSecurityContext" -}}
{{- $context := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") }}
{{- if dig "setIDs" true (.Values.securityContext | default dict) }}
{{- $_ := set $context "runAsUser" 65532 }}
{{- $_ := set $context "runAsGroup" 65532 }}
{{- $_ := set $context "fsGroup" .Values.fsGroup }}
{{- $_ := set $context "fsGroupChangePolicy" "OnRootMismatch" }}
{{- end }}
{{- $context | toYaml }}
{{- end }}
{{- define "krs.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- /* No sidecar of a service mesh; copy Jobs get the same from the importer. What the site says counts more. */}}
{{- define "krs.podLabels" -}}
{{- merge dict .Values.podLabels (dict "kuma.io/sidecar-injection" "disabled" "sidecar.istio.io/inject" "false") | toYaml }}
{{- end }}
{{- define "krs.podAnnotations" -}}
{{- merge dict .Values.podAnnotations (dict "consul.hashicorp.com/connect-inject" "false" "linkerd.io/inject" "disabled") | toYaml }}
{{- end }}
{{- /* Variables of the importer's environment. */}}
{{- define "krs.environment" -}}
{{- range .Values.extraEnv | default list }}
- {name: {{ .name }}, value: {{ .value | default "" | quote }}}
{{- end }}
{{- end }}
{{- /* What the importer may do in a namespace whose sets it serves. */}}
{{- define "krs.namespaceRules" -}}
- apiGroups: [kuberegistrysync.io]
  resources: [edgeimagesets]
  verbs: [get, list, watch{{ if .Values.applySets }}, create, patch{{ end }}]
- apiGroups: [kuberegistrysync.io]
  resources: [edgeimagesets/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get]
# Why the API server refuses the Pod of a Job.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
{{- /* The Pod of `helm test`. */}}
{{- define "krs.testSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}
{{- define "krs.toRegistries" -}}
{{- $egress := dig "egress" dict .Values.networkPolicy }}
- ports:
  {{- range $egress.registryPorts | default (list 443 5000) }}
  - {port: {{ . }}}
  {{- end }}
  {{- with $egress.registries }}
  to: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
