"""The life of lambdas on a cluster, from the first object to the last, against an API that behaves as the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from server.domain.lambdas import ImageStatus, LambdaStatus
from server.errors import Unavailable
from server.lambdas.kubernetes import keeper
from server.lambdas.kubernetes.outcomes import BAD, FAILED, REFUSED
from server.lambdas.kubernetes.programs import name_of
from server.lambdas.kubernetes.records import Report
from tests.kubernetes_api import FakeCluster, Refused
from tests.kubernetes_play import Playing, deployment, eventually

Play = Callable[..., Awaitable[Playing]]


def kinds(cluster: FakeCluster, name: str) -> set[str]:
    """Kinds of the objects of a lambda that there are."""
    all_kinds = ("secrets", "services", "configmaps", "deployments", "networkpolicies", "poddisruptionbudgets")
    return {plural for plural in all_kinds if cluster.get(plural, name)}


async def test_a_lambda_is_built_started_and_runs(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    play.runner.deploy(wanted)
    state = play.runner.states()[wanted.lambda_id]
    assert (state.version, state.status, state.image_status) == (1, LambdaStatus.WAITING, ImageStatus.IN_PROGRESS)

    await eventually(lambda: len(play.cluster.pods()) == 1)
    [pod] = play.cluster.pods()
    await play.cluster.build(pod, "fetching the archive")
    state = await play.until(wanted.lambda_id, lambda state: state.image_logs != ())
    assert state.image_logs == ("fetching the archive",)
    assert state.image_status is ImageStatus.IN_PROGRESS

    play.runner.reported(wanted.lambda_id, 1, Report("0.1.0", "3.11.7", "openapi: 3.1.0\n"))
    await play.cluster.built(pod, "done")
    state = await play.until(wanted.lambda_id, lambda state: state.image_status is ImageStatus.COMPLETED)
    assert state.status is LambdaStatus.WAITING
    assert state.image_logs == ("fetching the archive", "done")
    assert (state.base, state.documentation) == ("0.1.0", "openapi: 3.1.0\n")

    await play.cluster.ready(pod)
    state = await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
    assert state.info == {"isolation": "kubernetes", "python": "3.11.7", "version": "1"}
    assert kinds(play.cluster, name_of(wanted.lambda_id)) == {
        "secrets",
        "services",
        "configmaps",
        "deployments",
        "networkpolicies",
    }


async def test_the_policy_is_there_before_the_first_pod_and_until_the_last_is_gone(playing: Play) -> None:
    play = await playing()
    wanted = deployment(pods=2)
    await play.running(wanted)
    changes = [one for one in play.cluster.asked if one.startswith("PATCH")]
    assert changes[0].partition("/namespaces/")[2] == f"luna-lambdas/networkpolicies/{name_of(wanted.lambda_id)}"

    left: list[int] = []

    def look(verb: str, plural: str, name: str) -> None:
        if verb == "DELETE":
            left.append(len(play.cluster.all("pods")))

    play.cluster.refuse = look
    await play.runner.remove(wanted.lambda_id)
    deletions = [one.split("/")[-2] for one in play.cluster.asked if one.startswith("DELETE")]
    assert (deletions[0], left[0]) == ("deployments", 2)
    assert (deletions[-1], left[-1]) == ("networkpolicies", 0)
    assert not play.cluster.all("pods")
    assert not kinds(play.cluster, name_of(wanted.lambda_id))
    assert wanted.lambda_id not in play.runner.states()


async def test_removing_what_is_not_there_does_nothing(playing: Play) -> None:
    play = await playing()
    await play.runner.remove(uuid4())
    assert play.runner.states() == {}


async def test_pods_that_do_not_end_are_ended_by_force_and_the_policy_stays_until_they_are_gone(
    playing: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "GRACE_SECONDS", 0.2)
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    play.cluster.stubborn = True
    await play.runner.remove(wanted.lambda_id)
    assert set(play.cluster.grace.values()) == {0}
    assert not play.cluster.all("pods")


async def test_a_removal_that_the_cluster_does_not_do_is_tried_again(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)

    def refuse(verb: str, plural: str, name: str) -> None:
        if verb == "DELETE" and plural == "services":
            raise Refused(500, "InternalError", "etcdserver: request timed out")

    play.cluster.refuse = refuse
    with pytest.raises(Unavailable):
        await play.runner.remove(wanted.lambda_id)
    assert wanted.lambda_id in play.runner.states()
    play.cluster.refuse = lambda verb, plural, name: None
    await play.runner.remove(wanted.lambda_id)
    assert not kinds(play.cluster, name_of(wanted.lambda_id))


async def test_a_build_that_fails_for_good_is_an_error_and_is_not_tried_for_ever(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    play.runner.deploy(wanted)
    await eventually(lambda: len(play.cluster.pods()) == 1)
    [pod] = play.cluster.pods()
    await play.cluster.spoilt(pod, BAD, "requirements.txt: package 'evil' is not allowed on this server")
    state = await play.until(wanted.lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    assert state.status is LambdaStatus.WAITING
    assert state.image_logs[0] == "requirements.txt: package 'evil' is not allowed on this server"
    await eventually(lambda: not play.cluster.all("pods"))
    live = play.cluster.get("deployments", name_of(wanted.lambda_id))
    assert live is not None
    assert live["spec"]["replicas"] == 0
    state = await play.until(wanted.lambda_id, lambda state: True)
    assert (state.status, state.image_status) == (LambdaStatus.WAITING, ImageStatus.ERROR)


async def test_a_build_that_fails_for_a_reason_that_passes_is_tried_again_and_then_completed(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    play.runner.deploy(wanted)
    await eventually(lambda: len(play.cluster.pods()) == 1)
    [pod] = play.cluster.pods()
    await play.cluster.spoilt(pod, FAILED, "the index does not answer")
    await play.until(wanted.lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    await play.cluster.run(pod)
    state = await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
    assert state.image_status is ImageStatus.COMPLETED


async def test_a_build_that_fills_its_folder_is_an_error_that_tells_so(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    play.runner.deploy(wanted)
    await eventually(lambda: len(play.cluster.pods()) == 1)
    [pod] = play.cluster.pods()
    await play.cluster.build(pod, "installing")
    await play.cluster.evict(pod, 'Usage of EmptyDir volume "build" exceeds the limit "1073741824".')
    state = await play.until(wanted.lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    assert state.image_logs[0] == "installing"
    assert "exceeds the limit" in state.image_logs[-1]
    await eventually(lambda: not play.cluster.all("pods"))


async def test_a_rollout_that_gets_nowhere_is_an_error_that_tells_why(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    play.runner.deploy(wanted)
    await eventually(lambda: len(play.cluster.pods()) == 1)
    await play.cluster.stick(name_of(wanted.lambda_id), "ReplicaSet has timed out progressing.")
    state = await play.until(wanted.lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    assert state.image_logs == ("ReplicaSet has timed out progressing.",)


async def test_a_lambda_that_crashes_is_terminated_until_it_answers_again_and_tells_what_it_wrote(
    playing: Play,
) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    [pod] = play.cluster.pods()
    await play.cluster.crash(pod, "Traceback", "ZeroDivisionError")
    state = await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.TERMINATED)
    assert state.image_status is ImageStatus.COMPLETED
    assert state.info["trouble"] == "Error, exit status 1"
    assert await play.runner.logs(wanted.lambda_id, None) == ["Traceback", "ZeroDivisionError"]
    await play.cluster.ready(pod)
    await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.RUNNING)


async def test_a_lambda_that_dies_in_its_start_is_terminated(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    play.runner.deploy(wanted)
    await eventually(lambda: len(play.cluster.pods()) == 1)
    [pod] = play.cluster.pods()
    await play.cluster.built(pod)
    await play.cluster.crash(pod, "onStart failed", reason="OOMKilled", code=137)
    state = await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.TERMINATED)
    assert state.image_status is ImageStatus.COMPLETED
    assert state.info["trouble"] == "OOMKilled, exit status 137"


async def test_the_old_version_stays_until_the_new_one_answers(playing: Play) -> None:
    play = await playing()
    first = deployment(pods=2)
    await play.running(first)
    play.runner.deploy(deployment(first.lambda_id, 2, pods=2, archive=b"PK2"))
    state = play.runner.states()[first.lambda_id]
    assert (state.version, state.status, state.image_status) == (2, LambdaStatus.WAITING, ImageStatus.IN_PROGRESS)
    await eventually(lambda: len(play.cluster.pods(2)) == 1)
    assert len(play.cluster.pods(1)) == 2
    [new] = play.cluster.pods(2)
    await play.cluster.run(new)
    state = await play.until(first.lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
    assert state.version == 2
    assert state.info["version"] == "1, 2"
    [other] = [pod for pod in play.cluster.pods(2) if pod is not new]
    await play.cluster.run(other)
    assert not play.cluster.pods(1)
    await play.until(first.lambda_id, lambda state: state.info["version"] == "2")


async def test_a_build_that_fails_leaves_the_version_before_it_running(playing: Play) -> None:
    play = await playing()
    first = deployment()
    await play.running(first)
    play.runner.deploy(deployment(first.lambda_id, 2, archive=b"PK2"))
    await eventually(lambda: len(play.cluster.pods(2)) == 1)
    await play.cluster.spoilt(play.cluster.pods(2)[0], BAD, "no")
    state = await play.until(first.lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    assert (state.version, state.status) == (2, LambdaStatus.WAITING)
    await asyncio.sleep(0.2)
    assert len(play.cluster.pods(1)) == 1


async def test_the_same_version_again_ends_no_pod_and_renews_the_secret(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    before = play.cluster.pods()[0]["metadata"]["name"]
    play.runner.deploy(deployment(wanted.lambda_id, account_id=wanted.account_id, token="another.jwt"))
    name = name_of(wanted.lambda_id)
    await eventually(lambda: play.cluster.get("secrets", name)["data"]["token"] == "YW5vdGhlci5qd3Q=")  # type: ignore[index]
    assert [pod["metadata"]["name"] for pod in play.cluster.pods()] == [before]
    assert play.runner.states()[wanted.lambda_id].status is LambdaStatus.RUNNING


async def test_another_process_takes_over_what_it_finds(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    play.runner.reported(wanted.lambda_id, 1, Report())
    before = await play.running(wanted)
    [pod] = play.cluster.pods()
    await play.runner.close()
    assert len(play.cluster.pods()) == 1

    play.start()
    state = await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
    assert state == before
    assert play.cluster.pods() == [pod]
    await play.runner.close()


async def test_another_process_repairs_what_its_settings_have_otherwise(
    playing: Play, settings: Callable[..., object]
) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    await play.runner.close()
    play.settings = settings(play.cluster, memory_bytes=1 << 30)  # type: ignore[assignment]
    play.start()
    name = name_of(wanted.lambda_id)

    def memory() -> str:
        live = play.cluster.get("deployments", name)
        assert live is not None
        return str(live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"])

    play.runner.states()
    await eventually(lambda: memory() == str(1 << 30))
    await play.runner.close()


async def test_leftovers_of_a_deleted_lambda_are_told_so_that_they_are_removed(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    name = name_of(wanted.lambda_id)
    await play.runner.close()
    await play.cluster.delete("deployments", name)
    await eventually(lambda: not play.cluster.all("pods"))
    play.start()
    state = await play.until(wanted.lambda_id, lambda state: True)
    assert (state.version, state.status, state.image_status) == (0, LambdaStatus.NOT_FOUND, ImageStatus.NOT_FOUND)
    await play.runner.remove(wanted.lambda_id)
    assert not kinds(play.cluster, name)
    await play.runner.close()


async def test_what_others_change_or_delete_is_made_again(playing: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "AUDIT_SECONDS", 0.1)
    monkeypatch.setattr(keeper, "REPAIR_SECONDS", 0.1)
    play = await playing()
    wanted = deployment(pods=2)
    await play.running(wanted)
    name = name_of(wanted.lambda_id)
    live = play.cluster.get("deployments", name)
    assert live is not None
    live["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    await play.cluster.changed("deployments", live)
    await eventually(
        lambda: play.cluster.get("deployments", name)["spec"]["template"]["spec"]["containers"][0]["securityContext"][  # type: ignore[index]
            "readOnlyRootFilesystem"
        ]
    )
    for plural in ("networkpolicies", "services", "poddisruptionbudgets", "deployments"):
        await play.cluster.delete(plural, name)
    await eventually(
        lambda: {"networkpolicies", "services", "poddisruptionbudgets", "deployments"} <= kinds(play.cluster, name)
    )


async def test_repairing_what_is_well_writes_nothing(playing: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "AUDIT_SECONDS", 0.05)
    play = await playing(kubernetes={"cpu": "0.5"})
    wanted = deployment(pods=2)
    await play.running(wanted)
    await asyncio.sleep(0.1)
    play.cluster.asked.clear()
    await play.cluster.ready(play.cluster.pods()[0])
    await asyncio.sleep(0.3)
    assert [one for one in play.cluster.asked if not one.startswith("GET")] == []
    assert any(one.startswith("GET") for one in play.cluster.asked)


async def test_a_watch_that_ends_goes_on_and_one_that_is_too_old_lists_again(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    await play.running(wanted)
    await eventually(lambda: len([one for one in play.cluster.asked if one.endswith("?watch")]) >= 2)
    await play.cluster.cut()
    [pod] = play.cluster.pods()
    await play.cluster.ready(pod, ready=False)
    await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.WAITING)
    # what happens between two watches, and is forgotten by the time of the second
    play.cluster.asked.clear()
    pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    await play.cluster.compact()
    await play.cluster.changed("pods", pod)
    await play.cluster.compact() if play.cluster._watches else None
    await play.until(wanted.lambda_id, lambda state: state.status is LambdaStatus.RUNNING)


async def test_a_cluster_that_does_not_answer_is_asked_again(playing: Play) -> None:
    play = await playing()

    def refuse(verb: str, plural: str, name: str) -> None:
        if verb != "PATCH" or plural == "services":
            raise Refused(503, "ServiceUnavailable", "the server is currently unable to handle the request")

    play.cluster.refuse = refuse
    wanted = deployment()
    play.runner.deploy(wanted)
    await asyncio.sleep(0.3)
    state = play.runner.states()[wanted.lambda_id]
    assert (state.status, state.image_status) == (LambdaStatus.WAITING, ImageStatus.IN_PROGRESS)
    play.cluster.refuse = lambda verb, plural, name: None
    await eventually(lambda: len(play.cluster.pods()) == 1, 15)


async def test_what_the_cluster_refuses_for_good_is_an_error_of_the_image_that_tells_why(playing: Play) -> None:
    play = await playing()

    def refuse(verb: str, plural: str, name: str) -> None:
        if verb == "PATCH" and plural == "deployments":
            raise Refused(403, "Forbidden", "exceeded quota: lambdas, requested: limits.memory=512Mi")

    play.cluster.refuse = refuse
    wanted = deployment()
    play.runner.deploy(wanted)
    state = await play.until(wanted.lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    assert state.status is LambdaStatus.WAITING
    assert "exceeded quota" in state.image_logs[0]
    play.cluster.refuse = lambda verb, plural, name: None
    await eventually(lambda: len(play.cluster.pods()) == 1)
    await play.until(wanted.lambda_id, lambda state: state.image_status is ImageStatus.IN_PROGRESS)


@pytest.mark.parametrize("how", ["no secret", "old ticket"])
async def test_a_lambda_whose_secret_is_of_no_use_is_deployed_again(
    playing: Play, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(keeper, "LOST_SECONDS", 0.3)
    play = await playing()
    wanted = deployment()
    play.runner.deploy(wanted)
    await eventually(lambda: len(play.cluster.pods()) == 1)
    [pod] = play.cluster.pods()
    if how == "no secret":
        await play.cluster.wait_for_secret(pod)
    else:
        await play.cluster.spoilt(pod, REFUSED)
    await eventually(lambda: wanted.lambda_id not in play.runner.states())
    play.runner.deploy(wanted)
    state = play.runner.states()[wanted.lambda_id]
    assert state.image_status is ImageStatus.IN_PROGRESS


async def test_logs_of_all_pods_are_one_log_in_the_order_of_time(playing: Play) -> None:
    play = await playing()
    wanted = deployment(pods=2)
    await play.running(wanted)
    one, other = play.cluster.pods()
    play.cluster.write(one, "lambda", "first")
    play.cluster.write(other, "lambda", "second")
    play.cluster.write(one, "lambda", "third")
    assert await play.runner.logs(wanted.lambda_id, None) == ["first", "second", "third"]
    assert await play.runner.logs(wanted.lambda_id, 2) == ["second", "third"]
    assert await play.runner.logs(wanted.lambda_id, 0) == []
    assert await play.runner.logs(uuid4(), None) == []


async def test_logs_are_bounded(playing: Play) -> None:
    play = await playing(log_bytes=1024)
    wanted = deployment()
    await play.running(wanted)
    play.cluster.write(play.cluster.pods()[0], "lambda", *(f"line {number}" for number in range(5000)))
    lines = await play.runner.logs(wanted.lambda_id, None)
    assert lines[-1] == "line 4999"
    assert sum(len(line) + 1 for line in lines) <= 1024


async def test_a_change_of_state_is_told(playing: Play) -> None:
    play = await playing()
    wanted = deployment()
    waiting = asyncio.create_task(play.runner.changed())
    await asyncio.sleep(0)
    play.runner.deploy(wanted)
    async with asyncio.timeout(2):
        await waiting
