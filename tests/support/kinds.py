"""What the stand-in for a cluster serves, and what it takes."""

from collections.abc import Mapping
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

Object = dict[str, Any]
#: Group and version, kind, namespace (empty where there is none), name.
Key = tuple[str, str, str, str]
#: Whose objects Kubernetes's published schemas are asked about.
SCHEMA_VERSION = "1.34"
#: What is served: the kind of each collection. Of other groups there are none, as in a cluster
#: without their CustomResourceDefinitions.
SERVED: Mapping[str, Mapping[str, str]] = {
    "v1": {
        "configmaps": "ConfigMap",
        "namespaces": "Namespace",
        "nodes": "Node",
        "secrets": "Secret",
        "services": "Service",
    },
    "discovery.k8s.io/v1": {"endpointslices": "EndpointSlice"},
    "networking.k8s.io/v1": {"ingresses": "Ingress", "ingressclasses": "IngressClass"},
    "traefik.io/v1alpha1": {
        "ingressroutes": "IngressRoute",
        "ingressroutetcps": "IngressRouteTCP",
        "ingressrouteudps": "IngressRouteUDP",
        "middlewares": "Middleware",
        "middlewaretcps": "MiddlewareTCP",
        "serverstransports": "ServersTransport",
        "serverstransporttcps": "ServersTransportTCP",
        "tlsoptions": "TLSOption",
        "tlsstores": "TLSStore",
        "traefikservices": "TraefikService",
    },
    "gateway.networking.k8s.io/v1": {
        "backendtlspolicies": "BackendTLSPolicy",
        "gatewayclasses": "GatewayClass",
        "gateways": "Gateway",
        "grpcroutes": "GRPCRoute",
        "httproutes": "HTTPRoute",
        "tlsroutes": "TLSRoute",
    },
    "gateway.networking.k8s.io/v1beta1": {"referencegrants": "ReferenceGrant"},
}
OF_THE_CLUSTER = {"Namespace", "Node", "IngressClass", "GatewayClass"}
OWN_SCHEMA = ("v1", "discovery.k8s.io/v1", "networking.k8s.io/v1")


class NotTaken(Exception):
    """A cluster would not take this object; ``args[0]`` says why."""


def key_of(thing: Object) -> Key:
    """Say which object this is, if a cluster would take it. Raises NotTaken."""
    group, kind, meta = thing["apiVersion"], thing["kind"], thing["metadata"]
    if kind not in SERVED.get(group, {}).values():
        raise NotTaken(f'no matches for kind "{kind}" in version "{group}"')
    if group in OWN_SCHEMA:
        try:
            kubernetes_validate.validate(thing, SCHEMA_VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise NotTaken(f"{kind} {meta['name']}: {error.message}") from None
    if (kind in OF_THE_CLUSTER) == ("namespace" in meta):
        raise NotTaken(f"{kind} {meta['name']}: its namespace")
    return group, kind, meta.get("namespace", ""), meta["name"]


def with_defaults(thing: Object) -> Object:
    """Fill in what a cluster fills in, and Traefik's Gateway provider does not do without."""
    if thing["kind"] == "Service":
        for port in thing["spec"]["ports"]:
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
    return thing
