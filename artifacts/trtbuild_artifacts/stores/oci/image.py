"""Manifests: an image that a container runtime mounts, or a ModelPack artifact of the same layers.

Image: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
ModelPack: https://github.com/modelpack/model-spec/blob/main/docs/spec.md
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trtbuild.errors import BuildError, UsageError
from trtbuild_artifacts.listing import Listing
from trtbuild_artifacts.reference import DIGEST
from trtbuild_artifacts.stores.oci.client import MANIFEST, digest_of
from trtbuild_artifacts.stores.oci.layers import Layer

IMAGE, MODELPACK = "image", "modelpack"
LAYOUTS = (IMAGE, MODELPACK)
MOST_LAYERS = 127
"""overlayfs, with which runtimes mount images, takes no more; Docker's own limit is the same."""

_MODEL = "dev.trtbuild.model"
_LISTING = "dev.trtbuild.listing.sha256"
_LOCK = "dev.trtbuild.lock.sha256"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_PACK = "application/vnd.cncf.model.manifest.v1+json"
_PACK_CONFIG = "application/vnd.cncf.model.config.v1+json"
_PACK_LAYERS = {
    True: "application/vnd.cncf.model.weight.v1.tar",
    False: "application/vnd.cncf.model.weight.config.v1.tar",
}
_PACK_PATH = "org.cncf.model.filepath"
_UNCOMPRESSED = (_LAYER, *_PACK_LAYERS.values())


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A layer of a stored manifest; ``model`` is empty for the lock and the listing."""

    digest: str
    size: int
    model: str


def config(layout: str, listing: Listing, digests: Sequence[str]) -> bytes:
    """The configuration of an image or of a ModelPack artifact."""
    if layout == MODELPACK:
        document: dict[str, Any] = {
            "descriptor": {"name": ", ".join(sorted(listing.models))},
            "config": {},
            "modelfs": {"type": "layers", "diffIds": list(digests)},
        }
    else:
        document = {
            "architecture": "amd64",  # readers want one; files have none
            "os": "linux",
            "config": {"Labels": _labels(listing)},
            "rootfs": {"type": "layers", "diff_ids": list(digests)},
        }
    return _json(document)


def manifest(
    layout: str, listing: Listing, layers: Sequence[Layer], digests: Sequence[str], settings: bytes
) -> bytes:
    """The manifest over layers and configuration; the same for the same repository."""
    pack = layout == MODELPACK
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        **({"artifactType": _PACK} if pack else {}),
        "config": {
            "mediaType": _PACK_CONFIG if pack else _CONFIG,
            "digest": digest_of(settings),
            "size": len(settings),
        },
        "layers": [_layer(pack, *each) for each in zip(layers, digests, strict=True)],
        "annotations": _labels(listing),
    }
    return _json(document)


def _layer(pack: bool, layer: Layer, digest: str) -> dict[str, Any]:
    annotations = {_MODEL: layer.model} | ({_PACK_PATH: "models"} if pack else {})
    return {
        "mediaType": _PACK_LAYERS[layer.weights] if pack else _LAYER,
        "digest": digest,
        "size": layer.size,
        "annotations": annotations,
    }


def _labels(listing: Listing) -> dict[str, str]:
    found = {
        "org.opencontainers.image.title": ", ".join(sorted(listing.models)),
        _LISTING: listing.digest.removeprefix("sha256:"),
        _LOCK: listing.lock_sha256,
    }
    return {name: value for name, value in found.items() if value}


def parse(content: bytes, where: str) -> tuple[str, list[Descriptor]]:
    """The listing's digest and the layers of a stored manifest, which comes from anyone.

    Raises:
        UsageError: It was not pushed by trtbuild.
        BuildError: Its layers were compressed on the way here.
    """
    try:
        document = json.loads(content)
        listing = str(document.get("annotations", {}).get(_LISTING, ""))
        layers = list(document["layers"]) if listing else []
        found = [
            Descriptor(_digest(one["digest"]), int(one["size"]), str(one["annotations"][_MODEL]))
            for one in layers
        ]
        types = {str(one["mediaType"]) for one in layers}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        listing, found, types = "", [], set()
    if not listing or not found:
        raise UsageError(
            "that image was not made by trtbuild push",
            where=where,
            fix="name one that was; other images are unpacked with umoci or docker",
        )
    if others := sorted(types.difference(_UNCOMPRESSED)):
        raise BuildError(
            f"the layers were repacked on their way here: they are {others[0]}",
            where=where,
            fix="copy images with `skopeo copy --preserve-digests`, or push the repository there",
        )
    return f"sha256:{listing}", found


def _digest(text: str) -> str:
    if not DIGEST.fullmatch(text):  # it becomes part of a URL
        raise ValueError(text)
    return text


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
