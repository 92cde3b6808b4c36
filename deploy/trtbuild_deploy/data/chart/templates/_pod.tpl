{{/* The server's pod. The context: the chart's, and the role (server, leader or worker). */}}
{{- define "trtbuild.pod" -}}
{{- $top := index . 0 -}}
{{- $role := index . 1 -}}
{{- $v := $top.Values -}}
metadata:
  labels:
    {{- include "trtbuild.labels" $top | nindent 4 }}
  annotations:
    checksum/repository: {{ $v.workload.digest | quote }}
    {{- if $v.gateway.enabled }}
    checksum/gateway: {{ toJson $v.workload.gatewaySettings | sha256sum | quote }}
    {{- end }}
    checksum/probe: {{ printf "%s%s" ($top.Files.Get "files/probe.py") (toJson $v.workload.probe) | sha256sum | quote }}
    kubectl.kubernetes.io/default-container: server
    trtbuild.dev/load-seconds: {{ $v.workload.loadSeconds | quote }}
    trtbuild.dev/builders: {{ join " " $v.workload.builders | quote }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  serviceAccountName: {{ $top.Release.Name | quote }}
  terminationGracePeriodSeconds: {{ include "trtbuild.grace" $top }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ int $v.server.user }}
    runAsGroup: {{ int $v.server.user }}
    fsGroup: {{ int $v.server.user }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $v.server.runtimeClass }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- include "trtbuild.pullSecrets" $top | nindent 2 }}
  {{- include "trtbuild.nodes" $top | nindent 2 }}
  {{- if eq $role "server" }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "trtbuild.selector" $top | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  {{- if eq $v.gpu.mode "dra" }}
  resourceClaims:
    - name: gpus
      resourceClaimTemplateName: {{ printf "%s-gpus" $top.Release.Name | quote }}
  {{- end }}
  {{- if has $v.weights.from (list "s3" "hub") }}
  initContainers:
    {{- include "trtbuild.fetch" $top | nindent 4 }}
  {{- end }}
  containers:
    {{- include "trtbuild.server" (list $top $role) | nindent 4 }}
    {{- if and $v.gateway.enabled (ne $role "worker") }}
    {{- include "trtbuild.gateway" $top | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "trtbuild.volumes" $top | nindent 4 }}
{{- end }}

{{/* The nodes that have GPUs, and the server's image. */}}
{{- define "trtbuild.nodes" -}}
{{- with .Values.server.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.server.tolerations }}
tolerations:
  {{- range $one := . }}
  - operator: {{ $one.operator | quote }}
    {{- range $key := list "key" "value" "effect" }}
    {{- with get $one $key }}
    {{ $key }}: {{ . | quote }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "trtbuild.pullSecrets" -}}
{{- with .Values.server.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "trtbuild.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: {{ . }}
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "trtbuild.environment" -}}
{{- range $name, $value := merge (dict) .Values.server.env .Values.workload.env }}
- name: {{ $name | quote }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $secret := .Values.server.secrets }}
- name: {{ $name | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name | quote }}
      key: {{ $secret.key | quote }}
{{- end }}
{{- end }}

{{- define "trtbuild.probe" -}}
{{- $check := index . 1 -}}
exec:
  command: {{ toJson (list "python3" "/etc/trtbuild/probe.py" (index . 0)) }}
periodSeconds: {{ int $check.period }}
timeoutSeconds: {{ int $check.timeout }}
failureThreshold: {{ int $check.failures }}
{{- end }}

{{- define "trtbuild.mounts" -}}
- name: models
  mountPath: /models
  readOnly: true
  {{- with .Values.weights.path }}
  subPath: {{ . | quote }}
  {{- end }}
{{- end }}

{{- define "trtbuild.server" -}}
{{- $top := index . 0 -}}
{{- $role := index . 1 -}}
{{- $v := $top.Values -}}
- name: server
  image: {{ $v.workload.image | quote }}
  imagePullPolicy: IfNotPresent
  {{- if eq $role "worker" }}
  args: {{ toJson $v.workload.workerArgs }}
  {{- else }}
  args: {{ toJson $v.workload.args }}
  {{- end }}
  env:
    {{- include "trtbuild.environment" $top | trim | nindent 4 }}
  {{- if ne $role "worker" }}
  ports:
    - name: http
      containerPort: 8000
    - name: grpc
      containerPort: 8001
    - name: metrics
      containerPort: 8002
  startupProbe:
    {{- include "trtbuild.probe" (list "startup" $v.workload.startup) | nindent 4 }}
  livenessProbe:
    {{- include "trtbuild.probe" (list "live" $v.workload.live) | nindent 4 }}
  readinessProbe:
    {{- include "trtbuild.probe" (list "ready" $v.workload.ready) | nindent 4 }}
  {{- end }}
  {{- /* A leader's open streams need its workers to their end. */}}
  {{- with add $v.server.preStop (ternary (int $v.server.exitTimeout) 0 (eq $role "worker")) }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ . }}
  {{- end }}
  resources:
    requests:
      cpu: {{ $v.server.cpu | quote }}
      memory: {{ $v.workload.memory | quote }}
      {{- with $v.workload.disk }}
      ephemeral-storage: {{ . | quote }}
      {{- end }}
      {{- with $v.workload.gpu }}
      {{ .name | quote }}: {{ .count | quote }}
      {{- end }}
    limits:
      memory: {{ $v.workload.memory | quote }}
      {{- with $v.workload.gpu }}
      {{ .name | quote }}: {{ .count | quote }}
      {{- end }}
    {{- if eq $v.gpu.mode "dra" }}
    claims:
      - name: gpus
    {{- end }}
  {{- include "trtbuild.confined" $v.server.readOnlyRootFilesystem | nindent 2 }}
  volumeMounts:
    {{- include "trtbuild.mounts" $top | nindent 4 }}
    - name: shm
      mountPath: /dev/shm
    - name: cache
      mountPath: /home/cache
    - name: tmp
      mountPath: /tmp
    - name: probe
      mountPath: /etc/trtbuild
      readOnly: true
{{- end }}

{{- define "trtbuild.gateway" -}}
- name: gateway
  image: {{ .Values.gateway.image | quote }}
  imagePullPolicy: IfNotPresent
  args: {{ toJson .Values.workload.gatewayArgs }}
  env:
    {{- range $name, $value := .Values.workload.gatewayEnv }}
    - name: {{ $name | quote }}
      value: {{ $value | quote }}
    {{- end }}
  ports:
    - name: openai
      containerPort: 9000
  livenessProbe:
    httpGet:
      path: /health/live
      port: openai
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    httpGet:
      path: /health/ready
      port: openai
    periodSeconds: 5
    timeoutSeconds: 5
  {{- if .Values.server.preStop }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ int .Values.server.preStop }}
  {{- end }}
  resources:
    requests:
      cpu: {{ .Values.gateway.cpu | quote }}
      memory: {{ .Values.gateway.memory | quote }}
    limits:
      memory: {{ .Values.gateway.memory | quote }}
  {{- include "trtbuild.confined" true | nindent 2 }}
  volumeMounts:
    {{- include "trtbuild.mounts" . | nindent 4 }}
    {{- if .Values.gateway.keys }}
    - name: gateway-keys
      mountPath: /etc/trtbuild-keys
      readOnly: true
    {{- end }}
    - name: gateway-tmp
      mountPath: /tmp
    - name: probe
      mountPath: /etc/trtbuild
      readOnly: true
{{- end }}

{{/* A copy of the repository, made before the server starts. */}}
{{- define "trtbuild.fetch" -}}
{{- $v := .Values -}}
- name: fetch
  {{- if eq $v.weights.from "s3" }}
  image: {{ $v.weights.image | quote }}
  args: {{ toJson (concat (list "s3" "sync" "--no-progress" $v.weights.reference "/models") (ternary (list "--endpoint-url" $v.weights.endpoint) (list) (ne $v.weights.endpoint ""))) }}
  {{- else }}
  image: {{ $v.weights.image | default $v.workload.image | quote }}
  command: [python3, -c]
  args:
    - |
      import sys
      from huggingface_hub import snapshot_download
      name, _, revision = sys.argv[1].partition("@")
      snapshot_download(name, revision=revision, local_dir="/models")
    - {{ $v.weights.reference | quote }}
  {{- end }}
  imagePullPolicy: IfNotPresent
  env:
    {{- include "trtbuild.environment" . | trim | nindent 4 }}
  {{- with $v.weights.secret }}
  envFrom:
    - secretRef:
        name: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      cpu: "1"
      memory: 1Gi
    limits:
      memory: 4Gi
  {{- include "trtbuild.confined" true | nindent 2 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: cache
      mountPath: /home/cache
    - name: tmp
      mountPath: /tmp
{{- end }}

{{- define "trtbuild.volumes" -}}
{{- $v := .Values -}}
- name: models
  {{- if eq $v.weights.from "claim" }}
  persistentVolumeClaim:
    claimName: {{ $v.weights.claim | default (printf "%s-models" $v.name) | quote }}
    readOnly: true
  {{- else if eq $v.weights.from "image" }}
  image:
    reference: {{ $v.weights.reference | quote }}
    pullPolicy: IfNotPresent
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ $v.workload.shm | quote }}
- name: cache
  {{- if $v.weights.cacheClaim }}
  persistentVolumeClaim:
    claimName: {{ $v.weights.cacheClaim | quote }}
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir: {}
{{- if $v.gateway.enabled }}
- name: gateway-tmp
  emptyDir: {}
{{- with $v.gateway.keys }}
- name: gateway-keys
  secret:
    secretName: {{ .name | quote }}
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: keys.json
{{- end }}
{{- end }}
- name: probe
  configMap:
    name: {{ printf "%s-probe" .Release.Name | quote }}
{{- end }}
