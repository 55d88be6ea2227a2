"""The JSON bodies of the routes about tenants, tokens, members and shared functions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ..access.principal import Role

__all__ = [
    "MeModel",
    "MemberBody",
    "MemberModel",
    "NewTokenModel",
    "RotationBody",
    "ShareModel",
    "SharedFunctionModel",
    "TenantBody",
    "TenantChange",
    "TenantModel",
    "TokenBody",
    "TokenModel",
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TenantBody(_Body):
    """A tenant to be made."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "robotics", "weight": 1.0}})
    name: str = Field(description="1 to 64 letters, digits, '_', '.' and '-'.", examples=["robotics"])
    weight: float = Field(default=1.0, description="Its share of the devices, beside those of others.")


class TenantChange(_Body):
    """What is to be another of a tenant."""

    model_config = ConfigDict(json_schema_extra={"example": {"weight": 3.0}})
    name: str | None = Field(default=None, examples=["robots"])
    weight: float | None = Field(default=None, examples=[3.0])


class TenantModel(BaseModel):
    """A team."""

    id: str = Field(description="For ever; what others share functions with.", examples=["t4b1f0c2d9e8a7b6c"])
    name: str = Field(examples=["robotics"])
    weight: float = Field(examples=[1.0])
    created: float = Field(description="Seconds since 1970.", examples=[1.8e9])


class TokenBody(_Body):
    """A token to be made."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"role": "member", "label": "laptop of ada", "seconds": 2592000}}
    )
    role: Role = Field(strict=False, examples=["member"])
    label: str = Field(default="", description="What it is for.", examples=["laptop of ada"])
    seconds: float | None = Field(default=None, description="How long it is good; null for ever.", examples=[2592000])


class RotationBody(_Body):
    """How a token is to be rotated."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap": 3600}})
    overlap: float = Field(default=0.0, description="Seconds that the text it had stays good.", examples=[3600])


class TokenModel(BaseModel):
    """What is known of a token; its text is not. Times are seconds since 1970, null for what has not come."""

    id: str = Field(examples=["5f0c8a2c41d9"])
    tenant: str = Field(examples=["default"])
    role: Role
    label: str
    prefix: str = Field(description="What its text begins with.", examples=["ff_0AbCdEfGhIjK"])
    created: float
    expires: float | None
    revoked: float | None
    used: float | None = Field(description="To the minute.")
    old_expires: float | None = Field(description="Until when the text is good that it had before it was rotated.")


class NewTokenModel(TokenModel):
    """A token, and its text: now and never again."""

    text: str = Field(description="What Authorization: Bearer takes.", examples=["ff_0AbCdEfGhIjK_..."])


class MemberBody(_Body):
    """Somebody to be taken in, or to be given another role."""

    model_config = ConfigDict(json_schema_extra={"example": {"subject": "ada@example.org", "role": "member"}})
    subject: str = Field(description="The claim sub of their tokens.", examples=["ada@example.org"])
    issuer: str | None = Field(default=None, description="The claim iss; null for the server's own provider.")
    role: Role = Field(strict=False, examples=["member"])


class MemberModel(BaseModel):
    """Somebody of a tenant."""

    tenant: str
    issuer: str
    subject: str
    role: Role
    created: float = Field(description="Seconds since 1970.")


class MeModel(BaseModel):
    """Who asks, as the server sees it."""

    tenant: str = Field(description="The id, which others need to share a function.", examples=["t4b1f0c2d9e8a7b6c"])
    tenant_name: str = Field(examples=["robotics"])
    role: Role
    is_operator: bool
    token: str | None = Field(description="The id of the token.", examples=["5f0c8a2c41d9"])
    subject: str | None = Field(description="Whom the OpenID provider has vouched for.")
    tenants: list[str] = Field(description="Those that X-Tenant may name, by their ids.")


class ShareModel(BaseModel):
    """A tenant that a function is shared with."""

    tenant: str
    created: float = Field(description="Seconds since 1970.")


class SharedFunctionModel(BaseModel):
    """A function that another tenant shares: it can be described, read and evaluated by its id."""

    id: str = Field(examples=["sha256:" + "0" * 64])
    owner: str = Field(description="The id of the tenant that has it.")
    signature: str
    bytes: int
    created: float = Field(description="When it was shared, in seconds since 1970.")
