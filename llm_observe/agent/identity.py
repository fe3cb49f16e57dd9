"""Who this process is: one instance uid, one resource, the same in OpAMP and in every span.

OpAMP's guidelines for SDKs want ``service.name`` and ``service.instance.id`` of the resource
as identifying attributes, and all others as non-identifying ones (opamp-spec,
"OpenTelemetry guidelines").
"""

from __future__ import annotations

import os
import platform
import socket
import uuid
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource

_IDENTIFYING = ("service.name", "service.namespace", "service.version", "service.instance.id")


def make_resource(
    service_name: str, uid: uuid.UUID, extra: Mapping[str, Any], version: str
) -> Resource:
    """The process's resource; ``OTEL_RESOURCE_ATTRIBUTES`` below ``extra``, our own keys on top."""
    process: dict[str, Any] = {
        "host.name": socket.gethostname(),
        "os.type": platform.system().lower(),
        "process.pid": os.getpid(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
    }
    own = {
        "service.name": service_name,
        "service.instance.id": str(uid),
        "llm_observe.version": version,
    }
    return Resource.create({**process, **extra, **own})


def renamed(resource: Resource, instance_id: str) -> Resource:
    """The same for another instance: a forked child, or a uid that the server assigned."""
    attributes: dict[str, Any] = dict(resource.attributes)
    attributes |= {"service.instance.id": instance_id, "process.pid": os.getpid()}
    return Resource(attributes, resource.schema_url)


def identifying(resource: Resource) -> dict[str, Any]:
    """The attributes that tell this process from all others."""
    return {key: resource.attributes[key] for key in _IDENTIFYING if key in resource.attributes}


def non_identifying(resource: Resource) -> dict[str, Any]:
    """All other attributes of the resource."""
    return {key: value for key, value in resource.attributes.items() if key not in _IDENTIFYING}
