"""A stand-in for a cluster's API server, on loopback: it lists, watches and tells what it is given.

It is no Kubernetes: nothing runs, and nothing but what a test does changes anything. It says no to
what a real one says no to, as far as its clients here can tell: kinds it does not serve, objects
that Kubernetes's own schema refuses, selectors it cannot read, updates of what has changed since.
"""

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

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


VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
TERM = re.compile(r"(?P<label>[\w./-]+)\s*(?P<sign>!=|==|=)\s*(?P<value>[\w.-]*)")


class Kubernetes:
    """What a cluster holds, and what happened to it, in order."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self._events: list[tuple[str, Object]] = []
        self._changed = asyncio.Event()
        self.is_over = False

    def apply(self, *objects: Object) -> None:
        """Store objects, new or changed. Raises NotTaken."""
        for given in objects:
            key = key_of(given)
            kind = "MODIFIED" if key in self.objects else "ADDED"
            self._happened(kind, key, with_defaults(copy.deepcopy(given)))

    def delete(self, *objects: Object) -> None:
        """Remove objects."""
        for given in objects:
            key = key_of(given)
            self._happened("DELETED", key, self.objects[key])

    def end(self) -> None:
        """Let those who watch go."""
        self.is_over = True
        self._wake()

    def listed(self, group: str, kind: str, namespace: str, selector: str) -> list[Object]:
        """List what is selected."""
        return [o for o in self.objects.values() if _is_of(o, group, kind, namespace, selector)]

    @property
    def version(self) -> int:
        """How much has happened so far."""
        return len(self._events)

    async def since(self, version: int) -> AsyncIterator[tuple[str, Object]]:
        """Tell what has happened after a version, and go on telling."""
        while not self.is_over:
            while version < len(self._events):
                yield self._events[version]
                version += 1
            await self._changed.wait()

    def _happened(self, kind: str, key: Key, thing: Object) -> None:
        number = self.version + 1
        meta = {"uid": f"uid-{'-'.join(key[1:])}", "generation": 1, **thing["metadata"]}
        thing = {**thing, "metadata": {**meta, "resourceVersion": str(number)}}
        if kind == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = thing
        self._events.append((kind, thing))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _is_of(thing: Object, group: str, kind: str, namespace: str, selector: str) -> bool:
    meta = thing["metadata"]
    return (
        (thing["apiVersion"], thing["kind"]) == (group, kind)
        and namespace in {"", meta.get("namespace")}
        and _is_selected(meta.get("labels", {}), selector)
    )


def _is_selected(labels: Mapping[str, str], selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        found = TERM.fullmatch(term.strip())
        if found is None:
            raise ValueError(f"unable to parse requirement: {term}")
        is_equal = labels.get(found["label"]) == found["value"]
        if is_equal == (found["sign"] == "!="):
            return False
    return True


def status(code: int, reason: str) -> JSONResponse:
    """Say no, as Kubernetes does."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason}
    return JSONResponse({**body, "message": reason, "code": code}, code)


def served(cluster: Kubernetes) -> FastAPI:
    """Make the API."""
    app = FastAPI(openapi_url=None)

    @app.get("/version")
    async def version() -> Mapping[str, str]:
        return VERSION

    @app.get("/{root}/{path:path}")
    async def read(root: str, path: str, request: Request) -> Response:
        asked = _asked(root, path)
        if asked is None:
            return status(404, "NotFound")
        group, kind, namespace, name = asked
        if name:
            found = cluster.objects.get((group, kind, namespace, name))
            return JSONResponse(found) if found else status(404, "NotFound")
        query = request.query_params
        where = (group, kind, namespace, query.get("labelSelector", ""))
        try:
            items = cluster.listed(*where)
        except ValueError:
            return status(400, "BadRequest")
        if query.get("watch") in {"true", "1"}:
            lines = _watched(cluster, where, query)
            return StreamingResponse(lines, media_type="application/json")
        meta = {"resourceVersion": str(cluster.version)}
        listed = {"kind": f"{kind}List", "apiVersion": group, "metadata": meta, "items": items}
        return JSONResponse(listed)

    @app.put("/apis/{path:path}/status")
    async def tell(path: str, request: Request) -> Response:
        asked = _asked("apis", path)
        stored = cluster.objects.get(asked) if asked else None
        if asked is None or stored is None:
            return status(404, "NotFound")
        given = await request.json()
        if given["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
            return status(409, "Conflict")
        cluster.apply({**stored, "status": given.get("status", {})})
        return JSONResponse(cluster.objects[asked])

    return app


def _asked(root: str, path: str) -> Key | None:
    parts = path.split("/")
    group, rest = ("/".join(parts[:2]), parts[2:]) if root == "apis" else (parts[0], parts[1:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if root not in {"api", "apis"} or len(rest) not in {1, 2}:
        return None
    kind = SERVED.get(group, {}).get(rest[0])
    return (group, kind, namespace, rest[1] if len(rest) == 2 else "") if kind else None


async def _watched(cluster: Kubernetes, where: Key, query: Mapping[str, str]) -> AsyncIterator[str]:
    group, kind, *_ = where
    version = int(query.get("resourceVersion") or 0)
    if query.get("sendInitialEvents") == "true":
        version = cluster.version
        for thing in cluster.listed(*where):
            yield json.dumps({"type": "ADDED", "object": thing}) + "\n"
        end = {"k8s.io/initial-events-end": "true"}
        meta = {"resourceVersion": str(version), "annotations": end}
        mark = {"kind": kind, "apiVersion": group, "metadata": meta}
        yield json.dumps({"type": "BOOKMARK", "object": mark}) + "\n"
    async for event, thing in cluster.since(version):
        if _is_of(thing, *where):
            yield json.dumps({"type": event, "object": thing}) + "\n"


@asynccontextmanager
async def running_kubernetes(*objects: Object) -> AsyncIterator[tuple[Kubernetes, str]]:
    """Serve a cluster that holds these; gives it and its URL. Raises NotTaken."""
    cluster = Kubernetes()
    cluster.apply(*objects)
    config = uvicorn.Config(
        served(cluster), port=0, log_config=None, proxy_headers=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    serving = asyncio.create_task(server.serve([socket]))
    try:
        yield cluster, f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        cluster.end()
        server.should_exit = True
        await serving
