"""Whether lambdas are taken at all, and what is said where they are not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.errors import NoIsolation
from server.lambdas.kubernetes.cluster import Cluster
from server.lambdas.kubernetes.refusals import ClusterError
from server.lambdas.kubernetes.runner import KubernetesRunner
from server.settings import Kubernetes, Lambdas
from tests.kubernetes_play import Playing, deployment

Play = Callable[..., Awaitable[Playing]]
Settings = Callable[..., Lambdas]


async def _said(settings: Lambdas) -> str:
    runner = KubernetesRunner(settings)
    try:
        with pytest.raises(NoIsolation) as refused:
            await runner.check()
    finally:
        await runner.close()
    return refused.value.detail


async def test_a_cluster_that_lets_the_host_do_its_work_is_good(playing: Play) -> None:
    play = await playing()
    await play.runner.check()
    asked = len(play.cluster.asked)
    await play.runner.check()
    assert len([one for one in play.cluster.asked[asked:] if "selfsubject" in one]) == 0


async def test_permissions_that_are_missing_are_named(playing: Play) -> None:
    play = await playing()
    play.cluster.rules = [{"verbs": ["*"], "apiGroups": ["", "apps", "policy"], "resources": ["*"]}]
    with pytest.raises(NoIsolation) as refused:
        await play.runner.check()
    assert "patch networkpolicies" in refused.value.detail
    assert "pods" not in refused.value.detail
    assert "namespace luna-lambdas" in refused.value.detail


async def test_settings_that_are_missing_are_named(settings: Settings) -> None:
    said = await _said(settings(kubernetes={"image": "", "platform": ""}))
    assert "LUNA_LAMBDAS__KUBERNETES__IMAGE, LUNA_LAMBDAS__KUBERNETES__PLATFORM must be set" in said
    assert "LUNA_LAMBDAS__SECRET" in await _said(settings(secret=None))


async def test_a_place_that_no_policy_can_name_is_named(settings: Settings) -> None:
    said = await _said(settings(kubernetes={"platform": "luna.example.com:50051"}))
    assert "'luna.example.com' is neither SERVICE.NAMESPACE.svc nor an IP address" in said


@contextmanager
def _without(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Let an installed package be as one that is not."""
    with monkeypatch.context() as patch:
        for module in [one for one in sys.modules if one.split(".")[0] == name or one.endswith("kubernetes.cluster")]:
            patch.delitem(sys.modules, module)
        patch.setitem(sys.modules, name, None)
        yield


async def test_a_client_that_is_not_installed_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with _without(monkeypatch, "kubernetes_asyncio"):
        assert "install luna-open[kubernetes]" in await _said(settings())


async def test_a_process_that_is_in_no_cluster_says_so(settings: Settings, tmp_path: Path) -> None:
    assert "the cluster cannot be used" in await _said(settings())
    said = await _said(settings(kubernetes={"config": tmp_path / "missing"}))
    assert "the cluster cannot be used" in said


async def test_a_lambda_that_cannot_be_deployed_waits_and_is_not_lost(settings: Settings) -> None:
    runner = KubernetesRunner(settings(kubernetes={"image": ""}))
    wanted = deployment()
    runner.deploy(wanted)
    await asyncio.sleep(0.05)
    assert runner.states()[wanted.lambda_id].status.value == "waiting"
    assert await runner.logs(wanted.lambda_id, None) == []
    await runner.close()


async def test_lists_come_page_by_page(playing: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.lambdas.kubernetes.cluster.PAGE", 2)
    play = await playing()
    wanted = [deployment() for _ in range(5)]
    for one in wanted:
        await play.running(one)
    config = play.settings.kubernetes.config
    cluster = await Cluster.connect("luna-lambdas", config)
    found, version = await cluster.listed("Service")
    await cluster.close()
    assert {one["metadata"]["labels"]["luna-open/lambda-id"] for one in found} == {str(one.lambda_id) for one in wanted}
    assert {one["kind"] for one in found} == {"Service"}
    assert int(version) > 1000


async def test_what_the_api_refuses_is_told_in_its_words(playing: Play) -> None:
    play = await playing()
    cluster = await Cluster.connect("luna-lambdas", play.settings.kubernetes.config)
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "dato": {}}
    with pytest.raises(ClusterError, match="is invalid") as refused:
        await cluster.applied(manifest)
    await cluster.close()
    assert refused.value.status == 422
    assert refused.value.final


@pytest.mark.parametrize(
    ("name", "value"), [("cpu", "0"), ("cpu", "one"), ("cpu", "0m"), ("namespace", "Upper"), ("namespace", "a/b")]
)
def test_settings_that_the_api_would_refuse_are_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Kubernetes.model_validate({name: value})
