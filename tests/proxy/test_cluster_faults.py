"""What keeps requests from arriving in a cluster is found out here, not there."""

import base64
import copy
import ssl
from collections.abc import Callable

import httpx
import pytest
import trustme

from tests.support.deploy.chart import LEAST, Manifest, Refused, only, render
from tests.support.deploy.clusters import NAMESPACE, Pod, release, running_cluster
from tests.support.deploy.edges import NAME, UnsoundEdgeError, check_edge
from tests.support.processes.ports import free_port
from tests.support.servers.echo import echo
from tests.support.servers.kubernetes import NotTaken, running_kubernetes

Fault = Callable[[list[Manifest]], None]


def other_name(objects: list[Manifest]) -> None:
    """The Service's port is called otherwise: the route names one that it does not have."""
    only(objects, "Service", "api")["spec"]["ports"][0]["name"] = "web"


def other_number(objects: list[Manifest]) -> None:
    """The Service has another number, and the route names it by number."""
    only(objects, "Service", "api")["spec"]["ports"][0]["port"] = 8080


def other_target(objects: list[Manifest]) -> None:
    """The Service leads to a port that the pods do not have."""
    only(objects, "Service", "api")["spec"]["ports"][0]["targetPort"] = "web"


def other_service(objects: list[Manifest]) -> None:
    """The route names a Service that is not there."""
    only(objects, "Service", "api")["metadata"]["name"] = "web"


@pytest.mark.parametrize(
    ("edge", "fault", "complaint"),
    [
        ({"kind": "ingressRoute"}, other_name, "service port not found: http"),
        ({"kind": "ingressRoute"}, other_service, "kubernetes service not found: signup/reach"),
        ({"kind": "ingressRoute"}, other_target, ""),  # to Traefik, no pod is ready
        ({"kind": "ingress"}, other_name, "service port not found"),
        ({"kind": "gateway"}, other_name, "service port not found: http"),
        ({"kind": "gateway", "middlewares": False}, other_number, "service port 80 not found"),
    ],
)
async def test_a_disagreement_is_found_out(edge: Manifest, fault: Fault, complaint: str) -> None:
    """A route and a Service that disagree: Traefik says so if it can, and no request arrives."""
    port = free_port()
    objects = copy.deepcopy(release(port=port, **edge))
    async with echo() as server:
        fault(objects)
        # Made after the fault, as a cluster would.
        pods = [Pod(1, only(objects, "Deployment", "api"), "127.0.0.1", {8000: server})]
        is_faulty = bool(complaint)
        async with running_cluster(objects, *pods, port=port, is_faulty=is_faulty) as cluster:
            assert complaint in "".join(cluster.edge.traefik.complaints())
            with pytest.raises(UnsoundEdgeError, match=r"does not lead to Reach: [45]0"):
                await check_edge(cluster.edge)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"apiVersion": "traefik.containo.us/v1alpha1"}, "no matches for kind"),
        ({"kind": "IngressRoutes"}, "no matches for kind"),
        ({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}, "unexpected"),
    ],
)
async def test_what_a_cluster_would_not_take_is_not_taken(
    changes: Manifest, complaint: str
) -> None:
    """A group of Traefik 2, a kind that there is not, a field that an Ingress does not have."""
    wrong = {**only(release("ingressRoute"), "IngressRoute"), **changes}
    with pytest.raises(NotTaken, match=complaint):
        async with running_kubernetes(wrong):
            pass


@pytest.mark.parametrize(
    ("edge", "complaint"),
    [
        ({"kind": "gateway", "tls": {"enabled": False}}, "parentRefs"),
        ({"kind": "gateway", "gateway": {"create": True}}, "edge.tls.secretName"),
    ],
)
def test_what_cannot_work_is_not_rendered(edge: Manifest, complaint: str) -> None:
    """A route of no Gateway, and a Gateway without a certificate."""
    with pytest.raises(Refused, match=complaint):
        render({**LEAST, "edge": {**LEAST["edge"], **edge}})


@pytest.mark.parametrize("kind", ["ingressRoute", "ingress", "gateway"])
async def test_https_ends_at_traefik(kind: str) -> None:
    """By the certificate of the Secret that is named, and browsers are told to insist on it."""
    authority, secure = trustme.CA(), free_port()
    certificate = authority.issue_cert(NAME)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "reach-tls", "namespace": NAMESPACE},
        "data": {
            "tls.crt": encoded(certificate.cert_chain_pems[0]),
            "tls.key": encoded(certificate.private_key_pem),
        },
    }
    tls = {"enabled": None, "secretName": "reach-tls"}
    objects = release(kind, secure, tls=tls)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with echo() as server:
        pods = [Pod(1, only(objects, "Deployment", "api"), "127.0.0.1", {8000: server})]
        async with running_cluster(objects, *pods, secure=secure, extra=[secret]) as cluster:
            async with httpx.AsyncClient(verify=context, trust_env=False) as http:
                answer = await http.get(
                    f"https://127.0.0.1:{secure}/docs",
                    headers={"Host": NAME},
                    extensions={"sni_hostname": NAME},
                )
            async with cluster.edge.client(1) as http:
                plain = await http.get("/docs")
    assert (answer.status_code, plain.status_code) == (200, 404)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def encoded(pem: trustme.Blob) -> str:
    """Write it as a Secret has it."""
    return base64.b64encode(pem.bytes()).decode()
