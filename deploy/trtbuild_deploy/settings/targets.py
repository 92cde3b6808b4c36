"""Sections of ``deploy.yaml`` that only some targets read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trtbuild_deploy.settings.base import (
    Addresses,
    Image,
    SecretRef,
    Size,
    Strict,
    Variable,
)
from trtbuild_deploy.settings.forms import (
    Api,
    Cpu,
    Form,
    GivenAddress,
    InRepository,
    IpAddress,
    Namespace,
    ObjectName,
    Repository,
)

# Those of `trtbuild bench --slo`.
_OBJECTIVE = r"(ttft|itl|icl|tpot|e2e)=[0-9]+(\.[0-9]+)?m?s"


class Compose(Strict):
    """Images that only Compose files name."""

    prometheus: Image = "prom/prometheus:v3.5.0"
    collector: Image = "otel/opentelemetry-collector-contrib:0.135.0"
    address: IpAddress = Field(
        default="127.0.0.1", description="Address on which ports are published"
    )


class Worker(Strict):
    """Workers on a queue, scaled by KEDA; only targets with the Helm chart."""

    queue: Literal["", "redis", "kafka", "nats", "rabbitmq"] = Field(
        default="", description="The broker; empty: no workers"
    )
    image: Image = Field(default="", description="An image with trtbuild and the broker's extra")
    secret: ObjectName = Field(
        default="",
        description="Secret with REQUESTS, ANSWERS and DEAD, the URLs of the queues, as variables",
    )
    address: Addresses = Field(
        default="",
        description="HOST:PORT that KEDA asks: Redis, Kafka's brokers, the monitoring of NATS",
    )
    name: Annotated[str, Form(r"[^\s\x00-\x1f]+", "a name without spaces, such as requests")] = (
        Field(default="", description="The stream, topic or queue of REQUESTS")
    )
    group: Annotated[
        str, Form(r"[A-Za-z0-9_.-]+", "the name of a group, such as trtbuild", empty=False)
    ] = Field(default="trtbuild", description="As in the URL's ?group=")
    account: Annotated[
        str, Form(r"[A-Za-z0-9_$.-]+", "an account of NATS, such as $G", empty=False)
    ] = Field(default="$G", description="NATS account that has the stream")
    variable: Variable | Literal[""] = Field(
        default="",
        description="Variable of the Secret with Redis' password, or RabbitMQ's amqp:// address",
    )
    authentication: ObjectName = Field(
        default="", description="TriggerAuthentication of KEDA, such as for Kafka's SASL"
    )
    port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of the broker; default: that of the address, or the usual one",
    )
    target: Api = Field(
        default="",
        description="URL of the OpenAI API that answers; default: the gateway of this release",
    )
    waiting: int = Field(default=64, ge=1, description="Messages in the queue for each worker")
    min: int = Field(default=0, ge=0, description="Fewest workers")
    max: int = Field(default=8, ge=1, description="Most workers")
    grace: int = Field(default=60, ge=0, description="Seconds to finish messages at the end")
    args: tuple[str, ...] = Field(default=(), description="More arguments for `trtbuild worker`")
    memory: Size = Field(default="512Mi", description="Memory limit")
    cpu: Cpu = Field(default="250m", description="CPU request")


class Stable(Strict):
    """A version that already serves."""

    version: Annotated[
        str, Form(r"r[0-9a-f]{8}", "a version's name, such as r0a1b2c3d", empty=False)
    ] = Field(description="Its name: predictor.name of the InferenceService")
    storage: Annotated[
        str, Form(r"[a-z0-9+]+://\S+", "a storage URI, such as pvc://models/chat", empty=False)
    ] = Field(description="Its storage URI: spec.predictor.storageUris")


class Kserve(Strict):
    """Settings of the target kserve."""

    service_account: ObjectName = Field(
        default="", description="ServiceAccount with the credentials of the storage"
    )
    stable: Stable | None = Field(
        default=None, description="The stable version beside a canary; none: no canary"
    )
    percent: int = Field(
        default=10, ge=0, le=100, description="Percent of the requests that a canary gets"
    )


class Sagemaker(Strict):
    """Settings of the target sagemaker."""

    image: Image = Field(default="", description="Where the built image is pushed: a name in ECR")
    role: Annotated[
        str,
        Form(
            r"arn:aws[a-z-]*:iam::[0-9]{12}:role/\S+",
            "the ARN of a role, such as arn:aws:iam::123456789012:role/sagemaker",
        ),
    ] = Field(default="", description="Execution role")
    instance_type: Annotated[
        str, Form(r"ml\.[a-z0-9.-]+", "an instance type, such as ml.g6e.xlarge")
    ] = Field(default="", description="Instance type, such as ml.g6e.xlarge")


class Vertex(Strict):
    """Settings of the target vertex."""

    image: Image = Field(
        default="", description="Where the built image is pushed: a name in Artifact Registry"
    )
    machine_type: Annotated[str, Form(r"[a-z0-9-]+", "a machine type, such as g2-standard-12")] = (
        Field(default="", description="Machine type, such as g2-standard-12")
    )
    accelerator: Annotated[str, Form(r"[A-Z0-9_]+", "a GPU type, such as NVIDIA_L4")] = Field(
        default="", description="GPU type, such as NVIDIA_L4"
    )


class Azureml(Strict):
    """Settings of the target azureml."""

    image: Image = Field(
        default="",
        description="Where the built image is pushed: a name in the workspace's registry",
    )
    instance_type: Annotated[
        str,
        Form(r"Standard_[A-Za-z0-9_]+", "an instance type, such as Standard_NC24ads_A100_v4"),
    ] = Field(default="", description="Instance type, such as Standard_NC24ads_A100_v4")
    concurrency: int = Field(
        default=64, ge=1, description="Requests that an instance gets at once; more get 429"
    )


class Gate(Strict):
    """What a new version must pass before it gets user requests."""

    image: Image = Field(default="", description="An image with trtbuild")
    slo: Annotated[
        str, Form(f"{_OBJECTIVE}(,{_OBJECTIVE})*", "objectives, such as ttft=500ms,tpot=50ms")
    ] = Field(
        default="",
        description="Objectives of `trtbuild bench --slo`, such as ttft=500ms,tpot=50ms",
    )
    share: float = Field(
        default=0.95, gt=0, le=1, description="Share of requests that must meet them"
    )
    rate: float = Field(default=1, gt=0, description="Requests a second of the benchmark")
    requests: int = Field(default=50, ge=1, description="Requests of the benchmark")
    golden: ObjectName = Field(
        default="", description="ConfigMap with golden.jsonl, for `trtbuild deploy verify --golden`"
    )
    key: SecretRef | None = Field(default=None, description="Key of the gateway")
    errors: float = Field(
        default=0.01, ge=0, lt=1, description="Largest share of failed answers of a new version"
    )
    first_token: float = Field(
        default=2, gt=0, description="Longest time to the first token, p95, in seconds"
    )
    slower: float = Field(
        default=0.3,
        gt=0,
        description="Most seconds by which the p95 may be above the stable version's",
    )


class Argo(Strict):
    """Settings of the target argo."""

    strategy: Literal["canary", "blueGreen"] = "canary"
    steps: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(
        default=(5, 25, 50), min_length=1, description="Percent of the requests, step by step"
    )
    pause: Annotated[
        str, Form(r"[1-9][0-9]*[smh]", "a time, such as 90s or 5m", 9, empty=False)
    ] = Field(default="5m", description="How long each step lasts")
    prometheus: GivenAddress = Field(
        default="http://prometheus-operated.monitoring:9090",
        description="Prometheus that the analysis queries",
    )
    repository: Repository = Field(
        default="", description="Git repository with the output; none: no Application is written"
    )
    path: InRepository = Field(default="deploy/argo", description="The output's directory in it")
    revision: Annotated[
        str, Form(r"[^\s-]\S*", "a branch, tag or commit, such as main", empty=False)
    ] = Field(default="main", description="Branch, tag or commit")
    namespace: Namespace = Field(default="argocd", description="Namespace of Argo CD")
    project: ObjectName = Field(default="default", description="AppProject")
