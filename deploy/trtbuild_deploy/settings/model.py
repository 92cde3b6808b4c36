"""The shape of ``deploy.yaml``; the chart's values have the same keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trtbuild.container import is_secret
from trtbuild_deploy.settings.base import (
    Environment,
    Image,
    Name,
    Quantity,
    SecretRef,
    Size,
    Strict,
    Variable,
)
from trtbuild_deploy.settings.forms import (
    Cpu,
    Directory,
    Form,
    GivenAddress,
    HostName,
    LabelKey,
    LabelValue,
    Namespace,
    ObjectName,
    WebAddress,
)
from trtbuild_deploy.settings.observing import Observe
from trtbuild_deploy.settings.targets import (
    Argo,
    Azureml,
    Compose,
    Gate,
    Kserve,
    Sagemaker,
    Vertex,
    Worker,
)

SETTINGS_NAME = "deploy.yaml"
_DAY = 86_400  # seconds
_INT32 = 2**31 - 1  # the largest number that Kubernetes takes there

ENVIRONMENTS = ("dev", "staging", "prod", "rehearsal")


class Toleration(Strict):
    """As in a pod."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"a toleration with 'value' {self.value!r} needs 'operator: Equal'")
        if self.operator == "Equal" and not self.key:
            raise ValueError("a toleration with 'operator: Equal' needs a 'key'")
        return self


class Server(Strict):
    """Triton's container."""

    cpu: Cpu = Field(default="4", description="CPU request; there is no CPU limit")
    memory: Quantity = Field(
        default="", description="Memory limit; default: estimated from the weights"
    )
    load_seconds: int = Field(
        default=0, ge=0, le=_DAY, description="Measured load time; 0: estimated"
    )
    pre_stop: int = Field(
        default=15, ge=0, le=_DAY, description="Seconds between leaving the endpoints and SIGTERM"
    )
    exit_timeout: int = Field(
        default=60, ge=1, le=_DAY, description="Seconds for requests in flight to finish"
    )
    user: int = Field(
        default=1000, ge=1, le=_INT32, description="User and group id; NVIDIA's images have 1000"
    )
    read_only_root_filesystem: bool = Field(
        default=True, description="Off where the GPU runtime's hook writes into the root"
    )
    env: dict[Variable, str] = Field(default_factory=dict, description="Variables")
    secrets: dict[Variable, SecretRef] = Field(
        default_factory=dict, description="Variables from Secrets"
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="As in a pod"
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), description="As in a pod")
    runtime_class: ObjectName = Field(default="", description="runtimeClassName, such as nvidia")
    pull_secrets: tuple[ObjectName, ...] = Field(default=(), description="Secrets for the registry")
    strategy: Literal["surge", "recreate"] = Field(
        default="surge", description="recreate: for a cluster without a spare GPU at a rollout"
    )

    @field_validator("env")
    @classmethod
    def _no_secret_values(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if "\0" in value:
                raise ValueError(f"'server.env.{name}' has a zero byte, which no variable can hold")
            if is_secret(name):
                raise ValueError(
                    f"'server.env.{name}' is a secret by its name: refer to it under server.secrets"
                )
        return env

    @model_validator(mode="after")
    def _one_source_each(self) -> Self:
        if both := sorted({*self.env} & {*self.secrets}):
            raise ValueError(f"{both[0]!r} is under server.env and server.secrets: keep one")
        return self


class Gpu(Strict):
    """How a replica gets its GPUs."""

    mode: Literal["plugin", "mig", "shared", "dra", "none"] = Field(
        default="plugin",
        description="Whole GPUs of the device plugin, MIG slices, time-slicing, dynamic resource "
        "allocation, or none",
    )
    count: int | None = Field(
        default=None, ge=0, description="GPUs of a replica; default: its ranks"
    )
    per_node: int = Field(default=8, ge=1, description="GPUs that a node has")
    profile: Annotated[
        str, Form(r"[0-9]+g\.[0-9]+gb(\.[a-z0-9]+)*", "a MIG profile, such as 1g.10gb")
    ] = Field(default="", description="MIG profile such as 1g.10gb")
    resource: Annotated[
        str, Form(r"[a-z0-9.-]+/[A-Za-z0-9._-]+", "a resource of a node, such as nvidia.com/gpu")
    ] = Field(default="", description="Resource name instead of the mode's own")
    device_class: ObjectName = Field(
        default="gpu.nvidia.com", description="DeviceClass of the DRA driver"
    )
    selectors: tuple[str, ...] = Field(default=(), description="CEL expressions for DRA")


class Weights(Strict):
    """Where the model repository comes from."""

    source: Literal["claim", "image", "s3", "hub"] = Field(
        default="claim",
        alias="from",
        description="A PersistentVolumeClaim, an OCI image volume, or a copy by an init container",
    )
    claim: ObjectName = Field(
        default="", description="The PersistentVolumeClaim; default: NAME-models"
    )
    path: Directory = Field(default="", description="Directory in the claim or image")
    reference: str = Field(
        default="",
        description="Image, s3://bucket/prefix, or repository@commit of the Hugging Face hub",
    )
    image: Image = Field(
        default="",
        description="Image with the AWS command line for s3, with huggingface_hub for hub; "
        "default for hub: the server's",
    )
    secret: ObjectName = Field(default="", description="Secret with the variables of the download")
    endpoint: WebAddress = Field(default="", description="S3 endpoint other than Amazon's")
    size: Quantity = Field(default="", description="Size of the weights, where it is not known")
    bandwidth: Size = Field(default="200M", description="Bytes a second that loading reaches")
    cache_claim: ObjectName = Field(
        default="", description="Claim for downloads of engines; default: emptyDir"
    )


class Gateway(Strict):
    """trtbuild-gateway, beside each server."""

    enabled: bool = Field(default=False, description="OpenAI's API in front of the server")
    image: Image = Field(default="", description="An image with trtbuild-gateway")
    memory: Size = Field(default="1Gi", description="Memory limit")
    cpu: Cpu = Field(default="1", description="CPU request")
    keys: SecretRef | None = Field(
        default=None,
        description="The file of `trtbuild keys` in a Secret; none: anybody can use it",
    )


class Network(Strict):
    """Who may talk to whom."""

    policy: bool = Field(default=True, description="Write a NetworkPolicy")
    clients: tuple[Namespace, ...] = Field(
        default=(), description="Namespaces of clients, besides the release's own"
    )
    monitoring: Namespace = Field(default="monitoring", description="Namespace of Prometheus")
    egress: Literal["", "none", "https", "any"] = Field(
        default="", description="Default: none, or https where something is downloaded"
    )


class Route(Strict):
    """An HTTPRoute of the Gateway API."""

    parents: tuple[ObjectName, ...] = Field(
        default=(), description="Names of Gateways; none: no route"
    )
    namespace: Namespace = Field(
        default="", description="Namespace of the Gateways; default: the release's"
    )
    hostnames: tuple[HostName, ...] = Field(default=(), description="Host names")
    timeout: int = Field(
        default=600, ge=1, le=99_999, description="Seconds for one request, streams included"
    )


class Autoscaling(Strict):
    """More replicas under load."""

    kind: Literal["none", "hpa", "keda"] = Field(
        default="none", description="hpa needs an adapter for custom metrics, keda asks Prometheus"
    )
    min: int = Field(default=1, ge=0, description="Fewest replicas, 1 or more")
    max: int = Field(default=4, ge=1, le=_INT32, description="Most replicas")
    signal: Literal["auto", "queue", "in_flight"] = Field(
        default="auto", description="auto: the queue where its gauge exists, else open requests"
    )
    target: int = Field(default=8, ge=1, description="Waiting or open requests for each replica")
    prometheus: GivenAddress = Field(
        default="http://prometheus-operated.monitoring:9090", description="Address for keda"
    )


class Monitoring(Strict):
    """Scraping by the Prometheus operator."""

    kind: Literal["none", "podMonitor", "serviceMonitor"] = "none"
    interval: Annotated[
        str, Form(r"[1-9][0-9]*(s|m)", "a time, such as 15s or 1m", 9, empty=False)
    ] = "15s"
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that the operator selects monitors by"
    )

    @field_validator("labels")
    @classmethod
    def _no_own_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for key in labels:
            if key.startswith(("app.kubernetes.io/", "helm.sh/")):
                raise ValueError(f"'monitoring.labels' {key!r} is set by the chart: leave it out")
        return labels


class Tracing(Strict):
    """Triton's spans by OTLP over HTTP, as JSON."""

    url: WebAddress = Field(default="", description="…/v1/traces; empty: off")
    rate: int = Field(default=100, ge=1, description="Trace one request in this many")


class Settings(Strict):
    """The whole file."""

    name: Name = Field(
        default="", description="Name of all objects; default: the repository's directory"
    )
    image: Image = Field(
        default="", description="Server image, best by digest; default: the lock's"
    )
    rehearsal_image: Image = Field(
        default="", description="An image with trtbuild and its embedded server, for gpu.mode none"
    )
    replicas: int | None = Field(
        default=None, ge=0, le=_INT32, description="Fixed number; default 1"
    )
    server: Server = Server()
    gpu: Gpu = Gpu()
    weights: Weights = Weights()
    gateway: Gateway = Gateway()
    network: Network = Network()
    route: Route = Route()
    autoscaling: Autoscaling = Autoscaling()
    monitoring: Monitoring = Monitoring()
    tracing: Tracing = Tracing()
    worker: Worker = Worker()
    compose: Compose = Compose()
    gate: Gate = Gate()
    argo: Argo = Argo()
    kserve: Kserve = Kserve()
    sagemaker: Sagemaker = Sagemaker()
    vertex: Vertex = Vertex()
    azureml: Azureml = Azureml()
    observe: Observe = Observe()
    environments: dict[Environment, dict[str, Any]] = Field(
        default_factory=dict, description="Keys that differ by environment, by its name"
    )
