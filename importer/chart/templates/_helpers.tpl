{{- define "krs.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}
{{- define "krs.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: importer
{{- end }}
{{- define "krs.labels" -}}
{{ include "krs.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kuberegistrysync
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- define "krs.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "krs.name" .) }}
{{- end }}
{{- define "krs.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
{{- define "krs.keysSecret" -}}
{{ .Values.trustedKeys.existingSecret | default (printf "%s-trusted-keys" (include "krs.name" .)) }}
{{- end }}
{{- define "krs.claim" -}}
{{ .Values.dropFolder.existingClaim | default (printf "%s-bundles" (include "krs.name" .)) }}
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
