"""The one tree of errors that Luna answers with. It knows no transport and no resource.

    LunaError                    code, desc, HTTP status, gRPC code, reason
    ├── InvalidInput             400  INVALID_ARGUMENT     names the field, what was found, what is allowed
    │   ├── requests             BadQuery, MissingQuery, NoneOfQuery, BadBody, BadDocument, NotJson, MissingField,
    │   │                        EmptyBody, NoBody, UnsupportedMediaType, MissingContentType, BadPartContentType,
    │   │                        BadMultipart, NotAcceptable (406), MalformedRequest, UnusableRequest,
    │   │                        BadStreamsVersion, RequestTooLarge (413 RESOURCE_EXHAUSTED)
    │   ├── images               BadContentType, BadPartType, BoxesForSamples, RepeatedBoxes, SeveralBoxes, BadBase64,
    │   │                        NotAnImage, ImageTooLarge, WrongSampleSize, DownloadFailed, MultipleFaces,
    │   │                        TooManyFaces, NothingToExtract, OriginNotRemoved
    │   ├── descriptors          WrongDescriptorLength, UnknownDescriptorVersion, NoDescriptorInXpk, BadSdkDescriptor,
    │   │                        NoReferenceDescriptor, DescriptorNotDecrypted
    │   ├── matching             MatchVersionMismatch, MixedDescriptorVersions, BadMatchReference,
    │   │                        IndexVersionMismatch
    │   ├── access               TokenCorrupted, TokenAccountNeeded, VisibilityNotAllowed
    │   ├── faces, events        EmptyAttribute, UnknownTarget, BadAvatar, UnknownDeletionTarget
    │   ├── lambdas              BadLambda, TooManyLambdas, Diverted
    │   ├── tasks, parts         CrossMatchObjectMissing, CrossMatchSelectionEmpty, ClusteringSelectionEmpty,
    │   │                        TaskNotReportable, NoClusters, TaskResultTooLarge, TaskCancelled,
    │   │                        UnknownLicenceTarget
    │   ├── legacy               LegacyBadQuery, LegacyNoFaces, LegacyMatchFailed, LegacyBadMatchInput,
    │   │                        LegacyReferenceMissing, LegacyReferenceBare, LegacyBadParameter, LegacyBadHandler,
    │   │                        LegacyThresholds
    │   └── recognition          BufferEmpty, BufferNull, BufferFull, BadBufferSize, IncompatibleDescriptors,
    │                            BrokenDescriptor, BrokenDescriptorBatch, BadDetection, BadLandmarks5, BadLandmarks68,
    │                            BadRectangle, BadEngineInput, BatchFailed, VersionNotEstimated, BrokenImage,
    │                            BadImageFormat, BadImageDataSize, BadImageHeight, BadImageWidth, BadImagePath,
    │                            NoImageData, NoImageConversion, UnsupportedImageFormat, UnsupportedImageType,
    │                            ImageNotInitialized, ImageNotLoaded, ImageNotOpened, ImageNotSaved, ImageNotArchived
    ├── Unauthenticated          401  UNAUTHENTICATED
    │   └── access, legacy       AuthorizationNeeded, CredentialsWrong, TokenExpired, LegacyLoginFailed
    ├── Forbidden                403  PERMISSION_DENIED
    │   ├── access               AccountHeaderOff, AccountNeeded, TokenNotUsable, MissingPermission, MissingResource,
    │   │                        TokenRefused, PermissionExceeded, RegistrationClosed, HandlerNotAllowed,
    │   │                        EventsNotAllowed, VerifierNotAllowed
    │   ├── images, handlers     SeveralRectangles, OnlyDynamicHandlers
    │   ├── FunctionOff          403  FAILED_PRECONDITION  a part of the server is switched off
    │   │   └── parts            EventsOff, TasksOff, SenderOff, LivenessOff, ImageStoreOff, HandlersOff, LambdaOff,
    │   │                        MatcherOff, RemoteSdkOff, AccountsOff, NoIsolation
    │   └── NoMatcher            403  FAILED_PRECONDITION
    ├── FeatureOff               403  FAILED_PRECONDITION  a model pack is not installed
    ├── NotFound                 404  NOT_FOUND
    │   ├── requests             PathNotFound
    │   ├── access               AccountNotFound, TokenNotFound
    │   ├── stores               SampleNotFound, NoStoredSample, ImageNotFound, ObjectNotFound
    │   ├── faces                FaceNotFound, FacesNotFound, ListNotFound, ListsNotFound, AttributeNotFound,
    │   │                        FaceHasNoAttributes, ExternalIdNotFound
    │   ├── descriptors          DescriptorNotFound, BodyDescriptorNotFound
    │   ├── events               EventNotFound, EventsNotFound, EventExternalIdNotFound, EventTrackIdNotFound
    │   ├── tasks                TaskNotFound, TasksNotFound, TaskErrorNotFound, TaskErrorsNotFound, TaskResultGone,
    │   │                        NoTaskResultYet, NoTaskResult, ScheduleNotFound
    │   ├── handlers, lambdas    HandlerNotFound, VerifierNotFound, LambdaNotFound
    │   └── legacy               LegacyDescriptorNotFound, PersonNotFound
    ├── MethodNotAllowed         405  UNIMPLEMENTED
    ├── Conflict                 409  ALREADY_EXISTS
    │   ├── access               LoginTaken, AccountIdTaken
    │   ├── stores               BucketTaken, ObjectIdTaken
    │   ├── lambdas              LambdaNameTaken
    │   └── faces, events ...    AttributeBound, SamplesDiffer, EventIdTaken, PersonHasFace
    ├── LambdaArchiveGone        410  FAILED_PRECONDITION
    ├── ImageNotAccessible       422  FAILED_PRECONDITION
    ├── Busy                     429  RESOURCE_EXHAUSTED   with the seconds to wait
    ├── Internal                 500  INTERNAL             the request id and nothing else
    ├── other failures           500  INTERNAL
    │   ├── transport            BadUrl, BrokenPayload, FingerprintMismatch
    │   ├── matching, tasks ...  IndexSearchFailed, CrossMatchingFailed, SubtasksNotSent, TaskProgressNotSaved,
    │   │                        TaskBegunTooOften, TaskKindUnknown, HandlerCorrupted, LambdaFailed,
    │   │                        LambdaNotUpdated
    │   └── EngineFailure        EngineBroken, BadEngineSettings, EngineNotLicensed, EngineNotInitialized,
    │                            EngineNotReady, EngineMemoryFull, DescriptorNotCreated, DescriptorsNotCreated,
    │                            EyesNotEstimated, MaskNotEstimated, FaceNotDetected, FacesNotDetected
    ├── Unavailable              502  UNAVAILABLE
    │   ├── lambdas              LambdaNotRunning
    │   └── transport            ServerDisconnected, NotConnected, ConnectionFailed, NetworkFailed, ProxyUnreachable,
    │                            ProxyRefused, TlsFailed, ConnectorTlsFailed, CertificateRefused, HandshakeFailed,
    │                            UnexpectedContentType, UnusableResponse
    └── DeadlineExceeded         504  DEADLINE_EXCEEDED
        └── transport            ConnectTimeout, SocketConnectTimeout, SocketReadTimeout

A branch in lower case is a file of this package, not a class. The docstring of a class is its message template.
`code` and `desc` are LUNA's (reference document and its public catalogue of codes); the gRPC code follows from the HTTP
status (`tree.GRPC_OF_HTTP`); `reason` is the class name in upper snake case and is enumerated in
`luna/v6/errors.proto`. One interceptor turns an error into a `google.rpc.Status`, one mapper into the /6 body, and
`reference` writes the page that errors link to.
"""

from __future__ import annotations

from server.errors.access import *
from server.errors.descriptors import *
from server.errors.events import *
from server.errors.faces import *
from server.errors.families import *
from server.errors.handlers import *
from server.errors.images import *
from server.errors.lambdas import *
from server.errors.legacy import *
from server.errors.matching import *
from server.errors.page import reference as reference
from server.errors.parts import *
from server.errors.recognition import *
from server.errors.requests import *
from server.errors.stores import *
from server.errors.tasks import *
from server.errors.transport import *
from server.errors.tree import GRPC_OF_HTTP as GRPC_OF_HTTP
from server.errors.tree import LINK as LINK
from server.errors.tree import GrpcCode as GrpcCode
from server.errors.tree import LunaError as LunaError
from server.errors.tree import Violation as Violation
from server.errors.tree import catalogue as catalogue
