"""Accounts and tokens: who somebody is, and what they may do."""

from __future__ import annotations

from server.errors.families import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated


class CredentialsWrong(Unauthenticated):
    """Login or password is wrong"""

    code = 41006
    desc = "Account credentials wrong"


class TokenExpired(Unauthenticated):
    """Token expired at {expiration_time}"""

    code = 41007
    desc = "Account credentials wrong"


class TokenCorrupted(InvalidInput):
    """Token is corrupted: {message}"""

    code = 41008


class VisibilityNotAllowed(InvalidInput):
    """visibility_area 'all' is not allowed for an account of type 'user'"""

    code = 41004


class AccountHeaderOff(Forbidden):
    """Authorization by Luna-Account-Id is switched off on this server"""

    code = 11061


class AccountNeeded(Forbidden):
    """A request that changes data needs an account"""

    code = 11036


class TokenNotUsable(Forbidden):
    """This resource cannot be used with a token"""

    code = 11064


class MissingPermission(Forbidden):
    """The token lacks the action '{action}' for '{object}'"""

    code = 11059


class MissingResource(Forbidden):
    """The token's resources lack '{resource}'"""

    code = 11060


class TokenRefused(Forbidden):
    """The token is corrupted: {message}"""

    code = 11062


class PermissionExceeded(Forbidden):
    """A token cannot give '{permission}', which it has not itself"""

    code = 12033


class RegistrationClosed(Forbidden):
    """Accounts are created by an administrator on this server"""

    code = 12033


class AccountNotFound(NotFound):
    """Account with id '{account_id}' not found"""

    code = 41003
    desc = "Account not found"


class TokenNotFound(NotFound):
    """Token with id '{token_id}' not found"""

    code = 41005
    desc = "JWT token not found"


class LoginTaken(Conflict):
    """An account with login '{login}' exists already"""

    code = 41001


class AccountIdTaken(Conflict):
    """An account with id '{account_id}' exists already"""

    code = 41002


class AuthorizationNeeded(Unauthenticated):
    """The Authorization header is required"""

    code = 12010
    desc = "Bad/incomplete input data"


class TokenAccountNeeded(InvalidInput):
    """The Luna-Account-Id header is required to create a token"""

    code = 11066


class HandlerNotAllowed(Forbidden):
    """The token does not allow events of handler '{handler_id}'"""

    code = 11067


class EventsNotAllowed(Forbidden):
    """The token does not allow events to be emitted"""

    code = 11068


class VerifierNotAllowed(Forbidden):
    """The token does not allow verifier '{verifier_id}'"""

    code = 11074
