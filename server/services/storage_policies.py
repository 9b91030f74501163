"""Policies of storing and telling, and tags: messages to values and back.

A message that is read is complete: its defaults are filled in (`server.rpc.validation.complete`).
"""

from __future__ import annotations

from uuid import UUID

from luna.v6 import policies_pb2 as pb

from server.domain.policies import (
    AttributePolicy,
    ConditionalTag,
    EventPolicy,
    FacePolicy,
    ImageOriginPolicy,
    LinkToList,
    NotificationPolicy,
    SamplePolicy,
    StoragePolicy,
)
from server.services.match_policies import filters, filters_from


def conditional_tag_from(message: pb.ConditionalTag) -> ConditionalTag:
    """A tag under conditions."""
    return ConditionalTag(message.tag, filters_from(message.filters))


def conditional_tag(value: ConditionalTag) -> pb.ConditionalTag:
    """The same as a message."""
    return pb.ConditionalTag(tag=value.tag, filters=filters(value.filters))


def storage_policy_from(message: pb.StoragePolicy) -> StoragePolicy:
    """What is stored, and whether it is told."""
    images, events, notices = message.image_origin_policy, message.event_policy, message.notification_policy
    return StoragePolicy(
        face_sample=_sample_from(message.face_sample_policy),
        body_sample=_sample_from(message.body_sample_policy),
        image_origin=ImageOriginPolicy(
            images.store_image, images.use_external_references, filters_from(images.filters)
        ),
        attribute=attribute_policy_from(message.attribute_policy),
        face=_face_from(message.face_policy),
        event=EventPolicy(events.store_event, events.wait_saving, filters_from(events.filters)),
        notification=NotificationPolicy(notices.send_notification, filters_from(notices.filters)),
    )


def storage_policy(value: StoragePolicy) -> pb.StoragePolicy:
    """The same as a message."""
    images, events, notices = value.image_origin, value.event, value.notification
    return pb.StoragePolicy(
        face_sample_policy=_sample(value.face_sample),
        body_sample_policy=_sample(value.body_sample),
        image_origin_policy=pb.ImageOriginPolicy(
            store_image=images.store,
            use_external_references=images.external_references,
            filters=filters(images.filters),
        ),
        attribute_policy=attribute_policy(value.attribute),
        face_policy=_face(value.face),
        event_policy=pb.EventPolicy(store_event=events.store, wait_saving=events.wait, filters=filters(events.filters)),
        notification_policy=pb.NotificationPolicy(send_notification=notices.send, filters=filters(notices.filters)),
    )


def attribute_policy_from(message: pb.AttributePolicy) -> AttributePolicy:
    """Whether a temporary attribute is made."""
    ttl = message.ttl if message.HasField("ttl") else None
    return AttributePolicy(message.store_attribute, ttl, filters_from(message.filters))


def attribute_policy(value: AttributePolicy) -> pb.AttributePolicy:
    """The same as a message."""
    return pb.AttributePolicy(store_attribute=value.store, ttl=value.ttl_seconds, filters=filters(value.filters))


def _sample_from(message: pb.SamplePolicy) -> SamplePolicy:
    return SamplePolicy(message.store_sample, filters_from(message.filters))


def _sample(value: SamplePolicy) -> pb.SamplePolicy:
    return pb.SamplePolicy(store_sample=value.store, filters=filters(value.filters))


def _face_from(message: pb.FacePolicy) -> FacePolicy:
    return FacePolicy(
        store=message.store_face,
        avatar=message.set_sample_as_avatar,
        lists=tuple(LinkToList(UUID(one.list_id), filters_from(one.filters)) for one in message.link_to_lists_policy),
        filters=filters_from(message.filters),
    )


def _face(value: FacePolicy) -> pb.FacePolicy:
    return pb.FacePolicy(
        store_face=value.store,
        set_sample_as_avatar=value.avatar,
        link_to_lists_policy=[
            pb.LinkToList(list_id=str(one.list_id), filters=filters(one.filters)) for one in value.lists
        ],
        filters=filters(value.filters),
    )
