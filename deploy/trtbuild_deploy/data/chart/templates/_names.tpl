{{/* The selector never changes, whatever the repository is called: a Deployment refuses another. */}}
{{- define "trtbuild.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "trtbuild.labels" -}}
{{ include "trtbuild.selector" . }}
app.kubernetes.io/part-of: {{ .Values.name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/version: {{ .Values.workload.release | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{/* Name and labels of an object; a suffix may follow the context. */}}
{{- define "trtbuild.metadata" -}}
{{- $top := index . 0 -}}
name: {{ printf "%s%s" $top.Release.Name (index . 1) | quote }}
namespace: {{ $top.Release.Namespace | quote }}
labels:
  {{- include "trtbuild.labels" $top | nindent 2 }}
{{- end }}

{{/* Not the server's selector: its Service must not find workers. */}}
{{- define "trtbuild.workerSelector" -}}
app.kubernetes.io/name: {{ printf "%s-worker" .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "trtbuild.workerMetadata" -}}
name: {{ printf "%s-worker" .Release.Name | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "trtbuild.workerSelector" . | nindent 2 }}
  app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
  helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "trtbuild.grace" -}}
{{ add .Values.server.preStop .Values.server.exitTimeout 30 }}
{{- end }}

{{- define "trtbuild.selectsLeaders" -}}
{{ include "trtbuild.selector" . }}
{{- if gt (int .Values.workload.nodes) 1 }}
leaderworkerset.sigs.k8s.io/worker-index: "0"
{{- end }}
{{- end }}

{{/* Why findings of checkov do not apply; each is "rule=reason". */}}
{{- define "trtbuild.accepted" -}}
{{- range $number, $reason := . }}
checkov.io/skip{{ add1 $number }}: {{ $reason | quote }}
{{- end }}
{{- end }}

{{- define "trtbuild.acceptedUser" -}}
CKV_K8S_40=NVIDIA's images have a user 1000, whose home and caches the server needs
{{- end }}

{{/* What is wrong with this cluster, before anything is sent to it. */}}
{{- define "trtbuild.require" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .Release.Name) -}}
{{- fail (printf "the release %s cannot name a Service: use lowercase letters, digits and '-', starting with a letter" .Release.Name) -}}
{{- end -}}
{{- $minor := .Capabilities.KubeVersion.Minor | replace "+" "" | int -}}
{{- if and (eq .Values.gpu.mode "dra") (lt $minor 34) -}}
{{- fail (printf "gpu.mode dra needs Kubernetes 1.34 (resource.k8s.io/v1), this is 1.%d: use gpu.mode plugin" $minor) -}}
{{- end -}}
{{- if and (eq .Values.weights.from "image") (lt $minor 31) -}}
{{- fail (printf "weights.from image needs Kubernetes 1.31 (image volumes, on by default from 1.35), this is 1.%d: use weights.from claim" $minor) -}}
{{- end -}}
{{- if and (eq .Values.weights.from "image") .Values.weights.path (lt $minor 33) -}}
{{- fail (printf "weights.path in an image needs Kubernetes 1.33, this is 1.%d: put the repository at the image's root" $minor) -}}
{{- end -}}
{{- if and (ne .Values.autoscaling.kind "none") (ne .Values.replicas nil) -}}
{{- fail "replicas and autoscaling.kind both set the number of replicas: keep one" -}}
{{- end -}}
{{- if and (ne .Values.autoscaling.kind "none") (lt (int .Values.autoscaling.min) 1) -}}
{{- fail "autoscaling.min 0 never ends, because the signals come from the pods: give 1 or more" -}}
{{- end -}}
{{- end }}
