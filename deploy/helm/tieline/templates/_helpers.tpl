{{/* PART's objects and pods, of this release. */}}
{{- define "tieline.name" -}}
{{ printf "%s-%s" (.Release.Name | trunc 40 | trimSuffix "-") .part }}
{{- end }}

{{- define "tieline.selector" -}}
app.kubernetes.io/name: tieline
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "tieline.labels" -}}
{{ include "tieline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The domain below which each pod of PART has its name. */}}
{{- define "tieline.domain" -}}
{{- if .Values.link.domain -}}
{{ .Values.link.domain }}
{{- else -}}
{{ include "tieline.name" . }}.{{ .Release.Namespace }}.svc.cluster.local
{{- end -}}
{{- end }}
