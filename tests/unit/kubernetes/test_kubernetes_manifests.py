"""What a cluster is told of a lambda: valid by Kubernetes' schemas, and as closed as the guide promises."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import kubernetes_validate
import pytest
import yaml

from server.domain.lambdas import LambdaType
from server.lambdas.kubernetes.drift import drifted, quantity
from server.lambdas.kubernetes.manifests import Manifests
from server.lambdas.kubernetes.network import Place, Unreachable
from server.lambdas.kubernetes.permissions import NEEDED, missing
from server.lambdas.kubernetes.programs import Json, Program, lambda_of, version_of
from server.lambdas.kubernetes.tickets import accepted, ticket
from server.settings import Lambdas
from tests.kubernetes_api import SCHEMAS
from tests.kubernetes_play import deployment

Settings = Callable[..., Lambdas]
GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "lambdas-on-kubernetes.yaml"
ID = UUID("6b5f0c3a-2f57-4d0a-9d0e-3a3d6a3d0001")
PROGRAM = Program(ID, UUID(int=7), 3, LambdaType.HANDLERS, 2, "ab" * 32)


def _all(settings: Lambdas, program: Program = PROGRAM) -> list[Json]:
    made = Manifests.of(settings)
    return [
        *made.around(program),
        made.secret(program, token="jwt", ticket="t"),
        made.deployment(program, program.pods),
    ]


def _pod(settings: Lambdas, program: Program = PROGRAM) -> Json:
    pod: Json = Manifests.of(settings).deployment(program, 1)["spec"]["template"]["spec"]
    return pod


def _containers(pod: Json) -> list[Json]:
    return [*pod["initContainers"], *pod["containers"]]


def test_every_object_satisfies_the_published_schemas(settings: Settings) -> None:
    for values in ({}, {"network": True, "wheels": "/wheels", "kubernetes": {"pull_secret": "registry"}}):
        for manifest in _all(settings(**values)):
            kubernetes_validate.validate(manifest, SCHEMAS, strict=True)


def test_every_object_says_whose_it_is(settings: Settings) -> None:
    for manifest in _all(settings()):
        assert manifest["metadata"]["name"] == f"lambda-{ID}"
        assert len(manifest["metadata"]["name"]) <= 47
        assert lambda_of(manifest) == ID
        assert version_of(manifest) == 3
        assert manifest["metadata"]["labels"]["luna-open/account-id"] == str(UUID(int=7))


def test_a_deployment_tells_all_that_it_was_made_for(settings: Settings) -> None:
    assert Program.read(Manifests.of(settings()).deployment(PROGRAM, 0)) == PROGRAM
    assert Program.read({"metadata": {"name": "other"}}) is None


def test_selectors_find_the_pods_of_all_versions_and_of_no_other_lambda(settings: Settings) -> None:
    policy, service, budget, _, live = _all(settings())
    labels = live["spec"]["template"]["metadata"]["labels"]
    selectors = (
        policy["spec"]["podSelector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        live["spec"]["selector"]["matchLabels"],
    )
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert selector["luna-open/lambda-id"] == str(ID)
        assert "luna-open/version" not in selector


def test_pods_satisfy_the_restricted_level(settings: Settings) -> None:
    """Pod Security Standards, restricted: each control that is about these pods."""
    pod = _pod(settings())
    for field in ("hostNetwork", "hostPID", "hostIPC", "ephemeralContainers"):
        assert not pod.get(field)
    assert all(set(volume) <= {"name", "emptyDir"} for volume in pod["volumes"])
    for container in _containers(pod):
        security = {**pod["securityContext"], **container["securityContext"]}
        assert security["allowPrivilegeEscalation"] is False
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] != 0
        assert security["seccompProfile"]["type"] in {"RuntimeDefault", "Localhost"}
        assert security["capabilities"]["drop"] == ["ALL"]
        assert not security["capabilities"].get("add")
        assert not security["privileged"]
        assert all("hostPort" not in port for port in container.get("ports", []))
        # beyond the level
        assert security["readOnlyRootFilesystem"] is True
        assert security["runAsUser"] == security["runAsGroup"] >= 1_000_000
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_lambdas_have_users_of_their_own(settings: Settings) -> None:
    other = Program(UUID(int=ID.int + 1), UUID(int=7), 1, LambdaType.STANDALONE, 1, "")
    users = {_pod(settings(), one)["securityContext"]["runAsUser"] for one in (PROGRAM, other)}
    assert len(users) == 2


def test_limits_are_those_of_the_settings(settings: Settings) -> None:
    pod = _pod(
        settings(
            memory_bytes=256 << 20,
            build_max_bytes=2 << 30,
            temporary_bytes=32 << 20,
            start_seconds=12.5,
            call_seconds=95,
            build_seconds=100,
            kubernetes={"cpu": "0.05"},
        )
    )
    prepare, main = _containers(pod)
    assert main["resources"]["limits"] == {
        "cpu": "0.05",
        "memory": str(256 << 20),
        "ephemeral-storage": str(2176 << 20),
    }
    assert main["resources"]["requests"]["memory"] == main["resources"]["limits"]["memory"]
    assert main["resources"]["requests"]["cpu"] == "0.05"
    assert prepare["resources"]["limits"]["memory"] == str(512 << 20)
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
    assert volumes == {
        "build": {"sizeLimit": str(2 << 30)},
        "tmp": {"medium": "Memory", "sizeLimit": str(32 << 20)},
    }
    assert main["startupProbe"]["failureThreshold"] * main["startupProbe"]["periodSeconds"] == 13
    liveness = main["livenessProbe"]
    assert (liveness["failureThreshold"] - 1) * liveness["periodSeconds"] >= 95
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert main[probe]["httpGet"] == {"path": "/.luna/health", "port": 8000}


def test_only_the_build_writes_where_the_code_is(settings: Settings) -> None:
    prepare, main = _containers(_pod(settings()))
    build = {"name": "build", "mountPath": "/lambda"}
    assert build in prepare["volumeMounts"]
    assert {**build, "readOnly": True} in main["volumeMounts"]


def test_what_is_secret_is_in_the_secret_alone(settings: Settings) -> None:
    made = settings(index_url="https://user:hidden@index.example/simple")
    manifests = _all(made)
    secret = next(one for one in manifests if one["kind"] == "Secret")
    values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert values == {"token": "jwt", "ticket": "t", "index": "https://user:hidden@index.example/simple"}
    for manifest in manifests:
        if manifest["kind"] != "Secret":
            assert "hidden" not in str(manifest)
    prepare, main = _containers(_pod(made))
    taken = {one["name"]: one["valueFrom"]["secretKeyRef"]["key"] for one in prepare["env"] if "valueFrom" in one}
    assert taken == {"LUNA_LAMBDA_TICKET": "ticket", "LUNA_LAMBDAS__INDEX_URL": "index"}
    taken = {one["name"]: one["valueFrom"]["secretKeyRef"]["key"] for one in main["env"] if "valueFrom" in one}
    assert taken == {"LUNA_LAMBDA_TOKEN": "token"}


def test_the_old_version_stays_until_the_new_one_is_ready(settings: Settings) -> None:
    spec = Manifests.of(settings()).deployment(PROGRAM, 2)["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert spec["progressDeadlineSeconds"] >= 300 + 30
    # and goes on until nobody is sent to it any more
    pod = spec["template"]["spec"]
    [main] = pod["containers"]
    assert main["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "3"]}}}
    assert pod["terminationGracePeriodSeconds"] >= 3 + 5


def test_a_single_pod_has_no_budget_that_would_stop_drains(settings: Settings) -> None:
    one = Program(ID, UUID(int=7), 1, LambdaType.STANDALONE, 1, "")
    assert [manifest["kind"] for manifest in _all(settings(), one)] == [
        "NetworkPolicy",
        "Service",
        "Secret",
        "Deployment",
    ]


def _egress(settings: Lambdas) -> Iterator[tuple[Json, tuple[int, ...]]]:
    policy = Manifests.of(settings).policy(PROGRAM)
    for rule in policy["spec"]["egress"]:
        for peer in rule["to"]:
            yield peer, tuple(sorted({port["port"] for port in rule.get("ports", [])}))


def _namespace(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_only_the_host_reaches_a_lambda_and_it_reaches_host_platform_and_names(settings: Settings) -> None:
    made = settings()
    policy = Manifests.of(made).policy(PROGRAM)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    host = {**_namespace("luna"), "podSelector": {"matchLabels": {"app.kubernetes.io/name": "luna-lambdas"}}}
    assert policy["ingress"] == [{"from": [host], "ports": [{"protocol": "TCP", "port": 8000}]}]
    assert list(_egress(made)) == [
        (_namespace("kube-system"), (53, 5353)),
        (host, (50090,)),
        (_namespace("luna"), (50051,)),
    ]


def test_an_index_in_the_cluster_is_reached_and_one_that_no_policy_can_name_is_not(settings: Settings) -> None:
    inside = settings(index_url="http://index.packages.svc/simple")
    assert list(_egress(inside))[-1] == (_namespace("packages"), (80,))
    assert len(list(_egress(settings(index_url="https://pypi.example/simple")))) == 3


def test_the_network_is_public_addresses_alone(settings: Settings) -> None:
    peers = [peer for peer, ports in _egress(settings(network=True)) if not ports]
    assert [peer["ipBlock"]["cidr"] for peer in peers] == ["0.0.0.0/0", "::/0"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(peers[0]["ipBlock"]["except"])


@pytest.mark.parametrize(
    ("address", "peer", "port"),
    [
        ("luna.prod.svc:50051", _namespace("prod"), 50051),
        ("http://luna.prod.svc.cluster.local:80/x", _namespace("prod"), 80),
        ("10.1.2.3:50051", {"ipBlock": {"cidr": "10.1.2.3/32"}}, 50051),
        ("[fd00::1]:50051", {"ipBlock": {"cidr": "fd00::1/128"}}, 50051),
    ],
)
def test_places_are_namespaces_or_addresses(address: str, peer: Json, port: int) -> None:
    assert Place.parse(address) == Place(peer, port)


@pytest.mark.parametrize(
    "address", ["", "luna:50051", "luna.example:50051", "luna.prod.svc", "luna.prod.svc:x", "luna..svc:1", "http://:80"]
)
def test_places_that_no_policy_can_name_are_refused(address: str) -> None:
    with pytest.raises(Unreachable):
        Place.parse(address)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("0.5", "0.5"),
        ("1", "1"),
        ("2Gi", str(2 << 30)),
        ("64M", "64000000"),
        ("1e3", "1000"),
        ("3k", "3000"),
    ],
)
def test_quantities_are_numbers(text: str, value: str) -> None:
    assert quantity(text) == quantity(value)
    assert str(quantity(value)) == value


@pytest.mark.parametrize("text", ["", "x", "1.2.3", ".", "Gi", "1Q"])
def test_what_is_no_quantity_is_none(text: str) -> None:
    assert quantity(text) is None


@pytest.mark.parametrize(
    ("wanted", "live", "differs"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": []}}, {"a": {}}, False),
        ({"a": {}}, {}, False),
        ({"a": False}, {}, False),
        ({"a": "500m"}, {"a": "0.5"}, False),
        ({"a": [{"x": 1}]}, {"a": [{"x": 1, "y": 2}]}, False),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"a": [1]}, {}, True),
        ({"a": True}, {"a": False}, True),
        ({"a": "x"}, {"a": "y"}, True),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, True),
        ({"a": 1}, None, True),
    ],
)
def test_drift_is_what_is_missing_or_otherwise(wanted: object, live: object, differs: bool) -> None:
    assert drifted(wanted, live) is differs


def test_a_ticket_is_of_one_lambda_and_one_secret() -> None:
    other = UUID(int=1)
    assert accepted(b"secret", ID, ticket(b"secret", ID))
    assert not accepted(b"secret", other, ticket(b"secret", ID))
    assert not accepted(b"another", ID, ticket(b"secret", ID))
    assert not accepted(b"secret", ID, "")
    assert not accepted(b"secret", ID, "\udcff")


def test_the_digest_is_of_the_archive() -> None:
    # SHA-256 of the empty string, FIPS 180-4
    assert Program.of(deployment(archive=b"")).digest.startswith("e3b0c44298fc1c14")


def test_what_is_not_allowed_is_named() -> None:
    everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*", "*/log"]}]
    assert not list(missing({"resourceRules": everything}))
    assert "get pods/log" in list(
        missing({"resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]})
    )
    named = [{**everything[0], "resourceNames": ["one"]}]
    assert "patch secrets" in list(missing({"resourceRules": named}))
    assert not list(missing({"resourceRules": [], "incomplete": True}))


def _guide() -> list[Json]:
    return [one for one in yaml.safe_load_all(GUIDE.read_text()) if one]


def test_the_manifests_of_the_guide_satisfy_the_published_schemas() -> None:
    kinds = set()
    for manifest in _guide():
        kubernetes_validate.validate(manifest, SCHEMAS, strict=True)
        kinds.add(manifest["kind"])
    assert {
        "Namespace",
        "Role",
        "RoleBinding",
        "ServiceAccount",
        "ResourceQuota",
        "LimitRange",
        "NetworkPolicy",
    } <= kinds


def test_the_role_of_the_guide_allows_what_is_needed_and_no_more() -> None:
    [role] = [one for one in _guide() if one["kind"] == "Role"]
    assert not list(missing({"resourceRules": role["rules"]}))
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == {(group, resource, verb) for (group, resource), verbs in NEEDED.items() for verb in verbs}


def test_the_namespace_of_the_guide_enforces_the_restricted_level() -> None:
    [namespace] = [one for one in _guide() if one["kind"] == "Namespace" and one["metadata"]["name"] == "luna-lambdas"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
